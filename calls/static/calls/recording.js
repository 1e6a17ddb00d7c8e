/* The player on the page of a call: the drawing follows the audio, a click goes to a place or a turn, and an address that
   has grown too old is replaced. Without this the browser's own player still plays. */
"use strict";

(function () {
    const RENEW_AFTER_MS = 5000; // not again and again for a file that is not there

    function setUp(player) {
        const audio = player.querySelector(".player__audio");
        const wave = player.querySelector(".player__wave");
        const line = player.querySelector(".player__now");
        const note = player.querySelector(".player__note");
        const marks = Array.from(player.querySelectorAll(".player__turns a"));
        const height = wave ? wave.viewBox.baseVal.height : 0;
        let renewedAt = 0;
        let wantsToPlay = false; // an error pauses the audio, too

        function length() {
            return Number.isFinite(audio.duration) ? audio.duration : Number(player.dataset.seconds);
        }

        function playFrom(seconds) {
            audio.currentTime = seconds;
            audio.play().catch(() => {}); // the error event says more
        }

        function follow() {
            if (!line || !length()) {
                return;
            }
            const x = Math.min(600, 600 * audio.currentTime / length());
            line.setAttribute("d", `M${x.toFixed(1)} 0V${height}`);
            const now = marks.filter((mark) => Number(mark.dataset.seconds) <= audio.currentTime + 0.05).pop();
            for (const mark of marks) {
                const isNow = mark === now && audio.currentTime > 0;
                mark.classList.toggle("player__turn--now", isNow);
                const turn = document.getElementById(`turn-${mark.dataset.turn}`);
                if (turn) {
                    turn.classList.toggle("turn--now", isNow);
                }
            }
        }

        async function renew() {
            if (Date.now() - renewedAt < RENEW_AFTER_MS) {
                note.hidden = false;
                return;
            }
            renewedAt = Date.now();
            const place = audio.currentTime;
            try {
                const answer = await fetch(player.dataset.newAddress, { credentials: "same-origin" });
                if (!answer.ok) {
                    throw new Error(answer.status);
                }
                audio.src = (await answer.json()).address;
                audio.currentTime = place;
                note.hidden = true;
                if (wantsToPlay) {
                    await audio.play();
                }
            } catch {
                note.hidden = false;
            }
        }

        function addButton(mark) {
            const time = document.querySelector(`#turn-${mark.dataset.turn} .turn__time`);
            if (!time || time.querySelector(".turn__play")) {
                return;
            }
            const button = document.createElement("button");
            button.type = "button";
            button.className = "turn__play";
            button.textContent = "Play";
            button.setAttribute("aria-label", `Play the recording from ${mark.querySelector("title").textContent}`);
            button.addEventListener("click", () => playFrom(Number(mark.dataset.seconds)));
            time.append(" ", button);
        }

        audio.addEventListener("play", () => { wantsToPlay = true; });
        audio.addEventListener("pause", () => { wantsToPlay = wantsToPlay && Boolean(audio.error); });
        audio.addEventListener("timeupdate", follow);
        audio.addEventListener("seeked", follow);
        audio.addEventListener("error", renew);
        if (wave) {
            wave.addEventListener("click", (event) => {
                const box = wave.getBoundingClientRect();
                playFrom(length() * (event.clientX - box.left) / box.width);
            });
        }
        for (const mark of marks) {
            addButton(mark);
            mark.addEventListener("click", (event) => {
                event.preventDefault();
                playFrom(Number(mark.dataset.seconds));
            });
        }
    }

    document.addEventListener("DOMContentLoaded", () => {
        document.querySelectorAll(".player").forEach(setUp);
    });
})();
