/* The phone network and the speech model at once, so that one clock stamps what leaves the one and reaches the other.
 *
 * Plays calls (a frame every 20 ms on absolute deadlines, marks answered when their audio has been played, clears) and
 * the OpenAI Realtime sessions that answer them. Told by lines on stdin what to do, says on stdout what it saw:
 *
 *   call ID PORT MEASURED PATH HOST SIGNATURE CALL_SID STREAM_SID ACCOUNT_SID TOKEN   ("-": none)  -> up ID | failed ID
 *   hang ID                     ends a call as a caller does                                        -> over ID
 *   begin / end                 what is sent between the two is measured
 *   report                      one line of JSON
 *
 * First line on stdout: `model PORT`. Which session hears which call is known by the audio: the first eight bytes of
 * every frame are nearly silent and carry its call and number. What transcodes audio is told apart by order instead
 * (argument `in-order`: the nth call is the nth session), and its frames cannot be timed. */
#include "ws.h"
#include <math.h>
#include <sys/timerfd.h>
#include <time.h>

enum { LISTENER, TIMER, COMMANDS, PHONE, MODEL };
enum { FRAME = 160, RING = 1024, MAX_CALLS = 4096, MARKS = 64, DELTA_MS = 400, DELTA = DELTA_MS * 8, VOICES = 256 };
static const int64_t MS = 1000000;
static const int64_t TICK = 20 * MS;
static const int REPLY_PIECES = 15;   /* 6 s of speech, */
static const int PIECE_EVERY = 80;    /* made five times as fast as it is spoken */
static const int WRITTEN_MS = 250, SPEECH_MS = 700, PATIENCE_MS = 4000;

struct session {
    struct conn *conn;
    struct call *call;
    bool updated, creates_itself, interrupts_itself, wanted, linear;  /* linear: speaks 24 kHz PCM, not mu-law */
    int number, items, replies, active;  /* active: the reply that is being made, 0: none */
    int piece;
    int64_t next_piece, reply_began;
};

enum talk { QUIET, SPEAKS, SPOKEN, WAITS };

struct call {
    int id, state;                       /* state: 0 free, 1 connecting, 2 live, 3 over, its timers still out */
    int timers;
    bool measured, heard;
    struct conn *phone;
    struct session *session;
    char call_sid[64], stream_sid[64], account_sid[64], token[512];
    int64_t next_frame, sent_at[RING];
    uint32_t frames, sequence, phase;
    /* the agent's audio as the phone network holds it */
    int64_t plays_until, mark_due[MARKS];
    char mark_name[MARKS][64];
    int marks, first_mark;
    /* the caller's part of the talk */
    enum talk talk;
    int64_t talk_until, started_at;
    uint32_t seed;
};

static struct call calls[MAX_CALLS];
static bool in_order, measuring;
static int order[MAX_CALLS], placed_calls, matched_calls;
static char *voices[VOICES], linear_piece[DELTA * 9];
static int sessions_made;

static int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

/* --- What is counted ---------------------------------------------------------------------------------------- */

struct samples { float *values; size_t len, cap; };
static struct samples up, clear_delay, late;
static long sent, arrived, missed, interruptions, unanswered, misrouted, unknown, blocks_heard, lost_calls;
static char unknown_kind[64];

static void add(struct samples *s, int64_t ns) {
    if (s->len == s->cap) {
        s->cap = s->cap ? s->cap * 2 : 4096;
        s->values = realloc(s->values, s->cap * sizeof *s->values);
    }
    s->values[s->len++] = (float)ns / 1e6f;
}

static int by_size(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static void report_samples(const char *name, struct samples *s) {
    static const double shares[] = {0.5, 0.9, 0.95, 0.99, 0.999};
    static const char *names[] = {"p50", "p90", "p95", "p99", "p999"};
    qsort(s->values, s->len, sizeof *s->values, by_size);
    printf("\"%s\":{\"count\":%zu", name, s->len);
    for (int i = 0; i < 5 && s->len; i++) {
        size_t rank = (size_t)ceil(shares[i] * (double)s->len);
        printf(",\"%s\":%.4f", names[i], s->values[rank ? rank - 1 : 0]);
    }
    if (s->len) printf(",\"max\":%.4f", s->values[s->len - 1]);
    printf("},");
}

/* --- Audio --------------------------------------------------------------------------------------------------- */

static uint32_t random_of(uint32_t *seed) {
    *seed ^= *seed << 13, *seed ^= *seed >> 17, *seed ^= *seed << 5;
    return *seed;
}

static void label(uint8_t *frame, uint32_t call, uint32_t number) {
    for (int i = 0; i < 3; i++) frame[i] = (uint8_t)(0xF0 | (call >> 4 * i & 15));
    for (int i = 0; i < 5; i++) frame[3 + i] = (uint8_t)(0xF0 | (number >> 4 * i & 15));
}

static bool read_label(const uint8_t *frame, uint32_t *call, uint32_t *number) {
    *call = *number = 0;
    for (int i = 0; i < 8; i++)
        if (frame[i] < 0xF0) return false;
    for (int i = 0; i < 3; i++) *call |= (uint32_t)(frame[i] & 15) << 4 * i;
    for (int i = 0; i < 5; i++) *number |= (uint32_t)(frame[3 + i] & 15) << 4 * i;
    return true;
}

static size_t decode64(const char *text, size_t len, uint8_t *out) {
    static int8_t value[256];
    if (!value['B']) for (int i = 0; i < 64; i++) value[(uint8_t)DIGITS[i]] = (int8_t)i;
    size_t n = 0;
    while (len && text[len - 1] == '=') len--;
    for (size_t i = 0; i + 1 < len; i += 4) {
        uint32_t v = (uint32_t)value[(uint8_t)text[i]] << 18 | (uint32_t)value[(uint8_t)text[i + 1]] << 12;
        if (i + 2 < len) v |= (uint32_t)value[(uint8_t)text[i + 2]] << 6;
        if (i + 3 < len) v |= (uint32_t)value[(uint8_t)text[i + 3]];
        out[n++] = (uint8_t)(v >> 16);
        if (i + 2 < len) out[n++] = (uint8_t)(v >> 8);
        if (i + 3 < len) out[n++] = (uint8_t)v;
    }
    return n;
}

static void make_voices(void) { /* its loudness moves, as a voice's does: who listens for echoes has work with it */
    uint32_t seed = 2463534242u;
    for (int i = 0; i < VOICES; i++) {
        uint8_t frame[FRAME];
        int level = 30 + (int)(random_of(&seed) % 80);
        for (int k = 0; k < FRAME; k++) frame[k] = (uint8_t)((~level & 0x7f) | (random_of(&seed) & 0x80));
        voices[i] = malloc(FRAME);
        memcpy(voices[i], frame, FRAME);
    }
    static uint8_t linear[DELTA * 6]; /* the same time at 24 kHz, 16 bit */
    for (int i = 0; i < DELTA * 6; i += 2) linear[i] = (uint8_t)random_of(&seed), linear[i + 1] = (uint8_t)(random_of(&seed) % 8);
    base64(linear, sizeof linear, linear_piece);
}

/* --- The model ------------------------------------------------------------------------------------------------ */

static char text[1 << 15];

#define SAY(s, ...) send_text((s)->conn, text, (size_t)snprintf(text, sizeof text, __VA_ARGS__))

static void say_done(struct session *s, const char *status, const char *details) {
    SAY(s, "{\"type\":\"response.done\",\"event_id\":\"e\",\"response\":{\"id\":\"resp_%d_%d\",\"object\":"
           "\"realtime.response\",\"status\":\"%s\",\"status_details\":%s,\"output\":[],\"usage\":{\"total_tokens\":20,"
           "\"input_tokens\":10,\"output_tokens\":10}}}", s->number, s->active, status, details);
    s->active = 0;
}

static void begin_reply(struct session *s, int64_t now) {
    if (s->active) {
        SAY(s, "{\"type\":\"error\",\"event_id\":\"e\",\"error\":{\"type\":\"invalid_request_error\",\"code\":"
               "\"conversation_already_has_active_response\",\"message\":\"active\"}}");
        return;
    }
    s->active = ++s->replies;
    s->piece = -1;
    s->next_piece = now + 50 * MS;
    SAY(s, "{\"type\":\"response.created\",\"event_id\":\"e\",\"response\":{\"id\":\"resp_%d_%d\",\"object\":"
           "\"realtime.response\",\"status\":\"in_progress\",\"output\":[]}}", s->number, s->active);
}

static void say_item(struct session *s, const char *kind, const char *id, int number, const char *rest) {
    SAY(s, "{\"type\":\"conversation.item.%s\",\"event_id\":\"e\",\"previous_item_id\":null,\"item\":{\"id\":"
           "\"%s_%d_%d\",\"object\":\"realtime.item\",\"type\":\"message\",%s}}", kind, id, s->number, number, rest);
}

static void say_piece(struct session *s, int64_t now) {
    int n = s->number, r = s->active;
    if (s->piece < 0) {
        SAY(s, "{\"type\":\"response.output_item.added\",\"event_id\":\"e\",\"response_id\":\"resp_%d_%d\",\"output_index\""
               ":0,\"item\":{\"id\":\"item_%d_%d\",\"object\":\"realtime.item\",\"type\":\"message\",\"role\":\"assistant\","
               "\"status\":\"in_progress\",\"content\":[]}}", n, r, n, r);
        say_item(s, "added", "item", r, "\"role\":\"assistant\",\"status\":\"in_progress\",\"content\":[]");
        SAY(s, "{\"type\":\"response.content_part.added\",\"event_id\":\"e\",\"response_id\":\"resp_%d_%d\",\"item_id\":"
               "\"item_%d_%d\",\"output_index\":0,\"content_index\":0,\"part\":{\"type\":\"audio\",\"transcript\":\"\"}}",
            n, r, n, r);
        s->piece = 0;
        s->reply_began = now;
        return;
    }
    if (s->piece < REPLY_PIECES) {
        static uint8_t audio[DELTA];
        static char encoded[DELTA * 9];
        for (int i = 0; i < DELTA / FRAME; i++) {
            memcpy(audio + i * FRAME, voices[(s->number * 7 + s->piece * 20 + i) % VOICES], FRAME);
            label(audio + i * FRAME, s->call ? (uint32_t)s->call->id : 0, 0);
        }
        if (s->linear) strcpy(encoded, linear_piece);
        else base64(audio, DELTA, encoded);
        SAY(s, "{\"type\":\"response.output_audio_transcript.delta\",\"event_id\":\"e\",\"response_id\":\"resp_%d_%d\","
               "\"item_id\":\"item_%d_%d\",\"output_index\":0,\"content_index\":0,\"delta\":\"and so it goes on \"}",
            n, r, n, r);
        SAY(s, "{\"type\":\"response.output_audio.delta\",\"event_id\":\"e\",\"response_id\":\"resp_%d_%d\",\"item_id\":"
               "\"item_%d_%d\",\"output_index\":0,\"content_index\":0,\"delta\":\"%s\"}", n, r, n, r, encoded);
        s->piece++;
        return;
    }
    SAY(s, "{\"type\":\"response.output_audio.done\",\"event_id\":\"e\",\"response_id\":\"resp_%d_%d\",\"item_id\":"
           "\"item_%d_%d\",\"output_index\":0,\"content_index\":0}", n, r, n, r);
    SAY(s, "{\"type\":\"response.output_audio_transcript.done\",\"event_id\":\"e\",\"response_id\":\"resp_%d_%d\","
           "\"item_id\":\"item_%d_%d\",\"output_index\":0,\"content_index\":0,\"transcript\":\"and so it goes on\"}",
        n, r, n, r);
    SAY(s, "{\"type\":\"response.output_item.done\",\"event_id\":\"e\",\"response_id\":\"resp_%d_%d\",\"output_index\":0,"
           "\"item\":{\"id\":\"item_%d_%d\",\"object\":\"realtime.item\",\"type\":\"message\",\"role\":\"assistant\","
           "\"status\":\"completed\",\"content\":[]}}", n, r, n, r);
    say_item(s, "done", "item", r, "\"role\":\"assistant\",\"status\":\"completed\",\"content\":[]");
    say_done(s, "completed", "null");
}

static void hear(struct session *s, const char *audio, size_t len, int64_t now) {
    static uint8_t bytes[1 << 16];
    if (len > sizeof bytes) return;
    if (in_order) {
        if (s->call) s->call->heard = true;
        return;
    }
    size_t n = decode64(audio, len, bytes);
    for (size_t at = 0; at + FRAME <= n; at += FRAME) {
        uint32_t id, number;
        if (!read_label(bytes + at, &id, &number) || id >= MAX_CALLS || !calls[id].state) { misrouted++; continue; }
        struct call *c = &calls[id];
        if (!s->call) s->call = c, c->session = s, c->heard = true;
        if (s->call != c) { misrouted++; continue; }
        int64_t *stamp = &c->sent_at[number % RING];
        if (*stamp > 0) {
            add(&up, now - *stamp);
            arrived++;
            *stamp = 0;
        }
    }
}

static void model_text(struct session *s, char *message, size_t len) {
    int64_t now = now_ns();
    char *kind, *value;
    size_t kind_len, value_len;
    if (!json_get(message, len, "type", &kind, &kind_len)) { unknown++; return; }
    if (is(kind, kind_len, "input_audio_buffer.append")) {
        if (json_get(message, len, "audio", &value, &value_len)) hear(s, value, value_len, now);
    } else if (is(kind, kind_len, "session.update")) {
        s->creates_itself = !memmem(message, len, "\"create_response\":false", 23) &&
                            !memmem(message, len, "\"create_response\": false", 24);
        s->interrupts_itself = !memmem(message, len, "\"interrupt_response\":false", 26) &&
                               !memmem(message, len, "\"interrupt_response\": false", 27);
        s->linear = !memmem(message, len, "audio/pcmu", 10);
        s->updated = true;
        SAY(s, "{\"type\":\"session.updated\",\"event_id\":\"e\",\"session\":{\"type\":\"realtime\",\"id\":\"sess_%d\"}}",
            s->number);
    } else if (is(kind, kind_len, "response.create")) {
        if (s->call) begin_reply(s, now);
        else s->wanted = true;
    } else if (is(kind, kind_len, "response.cancel")) {
        if (s->active) say_done(s, "cancelled", "{\"type\":\"cancelled\",\"reason\":\"client_cancelled\"}");
        else SAY(s, "{\"type\":\"error\",\"event_id\":\"e\",\"error\":{\"type\":\"invalid_request_error\",\"code\":"
                    "\"response_cancel_not_active\",\"message\":\"not active\"}}");
    } else if (is(kind, kind_len, "conversation.item.truncate")) {
        char *item;
        size_t item_len, at_len;
        char *at;
        if (json_get(message, len, "item_id", &item, &item_len) && json_get(message, len, "audio_end_ms", &at, &at_len)) {
            static char copy[256];
            snprintf(copy, sizeof copy, "%.*s", (int)item_len, item);
            SAY(s, "{\"type\":\"conversation.item.truncated\",\"event_id\":\"e\",\"item_id\":\"%s\",\"content_index\":0,"
                   "\"audio_end_ms\":%.*s}", copy, (int)at_len, at);
        }
    } else if (is(kind, kind_len, "conversation.item.create")) {
        int number = ++s->items;
        say_item(s, "added", "sent", number, "\"role\":\"user\",\"status\":\"completed\",\"content\":[]");
        say_item(s, "done", "sent", number, "\"role\":\"user\",\"status\":\"completed\",\"content\":[]");
    } else if (is(kind, kind_len, "conversation.item.delete")) {
        if (json_get(message, len, "item_id", &value, &value_len))
            SAY(s, "{\"type\":\"conversation.item.deleted\",\"event_id\":\"e\",\"item_id\":\"%.*s\"}", (int)value_len, value);
    } else {
        unknown++;
        snprintf(unknown_kind, sizeof unknown_kind, "%.*s", (int)kind_len, kind);
    }
}

/* --- The caller, as the model hears them ------------------------------------------------------------------------ */

static void talk(struct call *c, struct session *s, int64_t now) {
    if (c->talk == QUIET) {
        /* Who sends the agent's audio as it is played, and not ahead, never leaves much of it at the phone network. */
        bool speaking = s->replies && c->plays_until - now > (in_order ? 0 : 700 * MS);
        if (speaking && !c->talk_until) c->talk_until = now + (2000 + (int)(random_of(&c->seed) % 2000)) * MS;
        if (!c->talk_until) c->talk_until = now + PATIENCE_MS * MS;
        if (now < c->talk_until) return;
        c->talk = SPEAKS;
        c->talk_until = now + SPEECH_MS * MS;
        c->started_at = 0;
        if (speaking && measuring && c->measured) c->started_at = now_ns(), interruptions++;
        SAY(s, "{\"type\":\"input_audio_buffer.speech_started\",\"event_id\":\"e\",\"audio_start_ms\":0,\"item_id\":"
               "\"said_%d_%d\"}", s->number, ++s->items);
        if (s->active && s->interrupts_itself)
            say_done(s, "cancelled", "{\"type\":\"cancelled\",\"reason\":\"turn_detected\"}");
    } else if (c->talk == SPEAKS && now >= c->talk_until) {
        if (c->started_at) missed++;
        c->started_at = 0;
        SAY(s, "{\"type\":\"input_audio_buffer.speech_stopped\",\"event_id\":\"e\",\"audio_end_ms\":0,\"item_id\":"
               "\"said_%d_%d\"}", s->number, s->items);
        SAY(s, "{\"type\":\"input_audio_buffer.committed\",\"event_id\":\"e\",\"previous_item_id\":null,\"item_id\":"
               "\"said_%d_%d\"}", s->number, s->items);
        const char *rest = "\"role\":\"user\",\"status\":\"completed\",\"content\":[{\"type\":\"input_audio\","
                           "\"transcript\":null}]";
        say_item(s, "added", "said", s->items, rest);
        say_item(s, "done", "said", s->items, rest);
        c->talk = SPOKEN;
        c->talk_until = now + WRITTEN_MS * MS;
        if (s->creates_itself) begin_reply(s, now);
    } else if (c->talk == SPOKEN && now >= c->talk_until) {
        SAY(s, "{\"type\":\"conversation.item.input_audio_transcription.completed\",\"event_id\":\"e\",\"item_id\":"
               "\"said_%d_%d\",\"content_index\":0,\"transcript\":\"Wait, I have got another question.\",\"usage\":"
               "{\"type\":\"duration\",\"seconds\":1}}", s->number, s->items);
        c->talk = WAITS;
        c->talk_until = now + PATIENCE_MS * MS;
    } else if (c->talk == WAITS) {
        if (s->active && s->piece > 0) c->talk = QUIET, c->talk_until = 0;
        else if (now >= c->talk_until) {
            if (measuring && c->measured) unanswered++;
            c->talk = QUIET, c->talk_until = 0;
        }
    }
}

static void think(struct call *c, int64_t now) {
    struct session *s = c->session;
    if (!s || !s->updated || s->conn->gone) return;
    if (s->wanted) s->wanted = false, begin_reply(s, now);
    while (s->active && now >= s->next_piece) {
        say_piece(s, now);
        s->next_piece += PIECE_EVERY * MS;
    }
    talk(c, s, now);
}

/* --- The phone ------------------------------------------------------------------------------------------------- */

static void return_marks(struct call *c, int64_t now) {
    while (c->marks && c->mark_due[c->first_mark] <= now) {
        size_t n = (size_t)snprintf(text, sizeof text,
            "{\"event\":\"mark\",\"sequenceNumber\":\"%u\",\"streamSid\":\"%s\",\"mark\":{\"name\":\"%s\"}}",
            ++c->sequence, c->stream_sid, c->mark_name[c->first_mark]);
        c->first_mark = (c->first_mark + 1) % MARKS, c->marks--;
        send_text(c->phone, text, n);
    }
}

static void send_audio(struct call *c) {
    static uint8_t frame[FRAME];
    static char encoded[256];
    if (c->talk == SPEAKS) memcpy(frame, voices[random_of(&c->seed) % VOICES], FRAME);
    else memset(frame, 0xff, FRAME);
    c->frames++;
    label(frame, (uint32_t)c->id, c->frames & 0xfffff);
    base64(frame, FRAME, encoded);
    size_t n = (size_t)snprintf(text, sizeof text,
        "{\"event\":\"media\",\"sequenceNumber\":\"%u\",\"media\":{\"track\":\"inbound\",\"chunk\":\"%u\",\"timestamp\":"
        "\"%u\",\"payload\":\"%s\"},\"streamSid\":\"%s\"}",
        ++c->sequence, c->frames, c->frames * 20, encoded, c->stream_sid);
    int64_t *stamp = &c->sent_at[c->frames % RING];
    bool counts = measuring && c->measured && c->heard && !in_order;
    *stamp = counts ? now_ns() : 0;
    sent += counts;
    send_text(c->phone, text, n);
}

static void phone_text(struct call *c, char *message, size_t len) {
    int64_t now = now_ns();
    char *event, *value, *inner;
    size_t event_len, value_len, inner_len;
    if (!json_get(message, len, "event", &event, &event_len)) { unknown++; return; }
    if (!json_get(message, len, "streamSid", &value, &value_len) || !is(value, value_len, c->stream_sid)) misrouted++;
    if (is(event, event_len, "media")) {
        static uint8_t bytes[1 << 16];
        uint32_t id, number;
        if (!json_get(message, len, "media", &value, &value_len) ||
            !json_get(value, value_len, "payload", &inner, &inner_len) || inner_len > sizeof bytes) { unknown++; return; }
        size_t n = decode64(inner, inner_len, bytes);
        if (c->plays_until < now) c->plays_until = now;
        c->plays_until += (int64_t)n * 125000; /* 8000 bytes a second */
        for (size_t at = 0; at + FRAME <= n; at += FRAME)
            if (read_label(bytes + at, &id, &number)) {
                blocks_heard++;
                if (id != (uint32_t)c->id && !in_order) misrouted++;
            }
    } else if (is(event, event_len, "mark")) {
        if (!json_get(message, len, "mark", &value, &value_len) ||
            !json_get(value, value_len, "name", &inner, &inner_len)) { unknown++; return; }
        if (c->marks == MARKS) { fprintf(stderr, "too many marks\n"); exit(1); }
        int at = (c->first_mark + c->marks++) % MARKS;
        c->mark_due[at] = c->plays_until;
        snprintf(c->mark_name[at], sizeof c->mark_name[at], "%.*s", (int)inner_len, inner);
    } else if (is(event, event_len, "clear")) {
        c->plays_until = 0;
        for (int i = 0; i < c->marks; i++) c->mark_due[(c->first_mark + i) % MARKS] = 0; /* all return, at once */
        if (c->started_at) add(&clear_delay, now - c->started_at);
        c->started_at = 0;
    } else unknown++;
}

/* --- The loop --------------------------------------------------------------------------------------------------- */

struct timer { int64_t due; struct call *call; bool thinks; };
static struct timer heap[MAX_CALLS * 2 + 2];
static int heap_len;

static void push(struct timer t) {
    int i = heap_len++;
    for (; i && heap[(i - 1) / 2].due > t.due; i = (i - 1) / 2) heap[i] = heap[(i - 1) / 2];
    heap[i] = t;
}

static struct timer pop(void) {
    struct timer top = heap[0], last = heap[--heap_len];
    int i = 0;
    for (int child; (child = 2 * i + 1) < heap_len; i = child) {
        if (child + 1 < heap_len && heap[child + 1].due < heap[child].due) child++;
        if (heap[child].due >= last.due) break;
        heap[i] = heap[child];
    }
    heap[i] = last;
    return top;
}

static bool ended(struct call *c) { /* drops one of its timers; with the last the place is free again */
    if (c->state != 3) return false;
    if (--c->timers == 0) c->state = 0;
    return true;
}

static void run_timers(void) {
    int64_t now;
    while (heap_len && heap[0].due <= (now = now_ns())) {
        struct timer t = pop();
        struct call *c = t.call;
        if (ended(c)) continue;
        if (measuring) add(&late, now - t.due);
        if (t.thinks) think(c, now);
        else if (c->phone && !c->phone->gone) return_marks(c, now), send_audio(c);
        if (ended(c)) continue;
        t.due += TICK;
        push(t);
    }
}

static void place(char *line) {
    int id, port, measured;
    char path[1024], host[256], signature[128];
    char call_sid[64], stream_sid[64], account_sid[64], token[512];
    if (sscanf(line, "call %d %d %d %1023s %255s %127s %63s %63s %63s %511s", &id, &port, &measured, path, host, signature,
               call_sid, stream_sid, account_sid, token) != 10 || id < 0 || id >= MAX_CALLS || calls[id].state) {
        printf("failed %d\n", id);
        return;
    }
    struct call *c = &calls[id];
    memset(c, 0, sizeof *c);
    c->id = id, c->state = 1, c->measured = measured, c->seed = 88172645u + (uint32_t)id * 2654435761u;
    if (!c->seed) c->seed = 1;
    strcpy(c->call_sid, call_sid), strcpy(c->stream_sid, stream_sid);
    strcpy(c->account_sid, account_sid), strcpy(c->token, token);
    char headers[512] = "";
    if (strcmp(signature, "-"))
        snprintf(headers, sizeof headers, "X-Forwarded-Proto: https\r\nX-Forwarded-For: 203.0.113.10\r\n"
                 "X-Twilio-Signature: %s\r\n", signature);
    c->phone = conn_connect(port, PHONE, path, host, headers);
    if (!c->phone) { c->state = 0; printf("failed %d\n", id); return; }
    c->phone->owner = c;
    order[placed_calls++ % MAX_CALLS] = id;
}

static void hang_up(struct call *c) {
    if (c->state != 2 || !c->phone || c->phone->gone) { printf("over %d\n", c->id); return; }
    size_t n = (size_t)snprintf(text, sizeof text,
        "{\"event\":\"stop\",\"sequenceNumber\":\"%u\",\"streamSid\":\"%s\",\"stop\":{\"accountSid\":\"%s\",\"callSid\":"
        "\"%s\"}}", ++c->sequence, c->stream_sid, c->account_sid, c->call_sid);
    send_text(c->phone, text, n);
    c->measured = false;
    send_frame(c->phone, 8, "\x03\xe8", 2);
    conn_close(c->phone);
}

static void report(void) {
    printf("{");
    report_samples("up", &up), report_samples("clear", &clear_delay), report_samples("late", &late);
    printf("\"sent\":%ld,\"arrived\":%ld,\"interruptions\":%ld,\"missed\":%ld,\"unanswered\":%ld,\"misrouted\":%ld,"
           "\"unknown\":%ld,\"unknown_kind\":\"%s\",\"frames_heard\":%ld,\"lost_calls\":%ld}\n",
           sent, arrived, interruptions, missed, unanswered, misrouted, unknown, unknown_kind, blocks_heard, lost_calls);
}

static void begin(void) {
    for (int i = 0; i < MAX_CALLS; i++) memset(calls[i].sent_at, 0, sizeof calls[i].sent_at), calls[i].started_at = 0;
    up.len = clear_delay.len = late.len = 0;
    sent = arrived = missed = interruptions = unanswered = misrouted = unknown = blocks_heard = lost_calls = 0;
    measuring = true;
}

static void commands(void) {
    static char buffer[1 << 20];
    static size_t len;
    ssize_t n = read(0, buffer + len, sizeof buffer - len - 1);
    if (n <= 0) exit(0); /* whom we work for has gone */
    len += (size_t)n;
    char *line = buffer, *end;
    while ((end = memchr(line, '\n', len - (size_t)(line - buffer)))) {
        *end = 0;
        int id;
        if (!strncmp(line, "call ", 5)) place(line);
        else if (sscanf(line, "hang %d", &id) == 1 && id >= 0 && id < MAX_CALLS) hang_up(&calls[id]);
        else if (!strcmp(line, "begin")) begin(), printf("ok\n");
        else if (!strcmp(line, "end")) measuring = false, printf("ok\n");
        else if (!strcmp(line, "report")) report();
        line = end + 1;
    }
    len -= (size_t)(line - buffer);
    memmove(buffer, line, len);
    fflush(stdout);
}

static void on_open(struct conn *c, const char *request) {
    (void)request;
    if (c->kind == MODEL) {
        struct session *s = calloc(1, sizeof *s);
        s->conn = c, s->number = ++sessions_made, c->owner = s;
        if (in_order && matched_calls < placed_calls) {
            s->call = &calls[order[matched_calls++ % MAX_CALLS]];
            s->call->session = s;
        }
        SAY(s, "{\"type\":\"session.created\",\"event_id\":\"e\",\"session\":{\"type\":\"realtime\",\"id\":\"sess_%d\"}}",
            s->number);
        return;
    }
    struct call *call = c->owner;
    const char *hello = "{\"event\":\"connected\",\"protocol\":\"Call\",\"version\":\"1.0.0\"}";
    send_text(c, hello, strlen(hello));
    send_text(c, text, (size_t)snprintf(text, sizeof text,
        "{\"event\":\"start\",\"sequenceNumber\":\"%u\",\"start\":{\"accountSid\":\"%s\",\"streamSid\":\"%s\",\"callSid\":"
        "\"%s\",\"tracks\":[\"inbound\"],\"mediaFormat\":{\"encoding\":\"audio/x-mulaw\",\"sampleRate\":8000,\"channels\":1},"
        "\"customParameters\":{\"token\":\"%s\"}},\"streamSid\":\"%s\"}",
        ++call->sequence, call->account_sid, call->stream_sid, call->call_sid, call->token, call->stream_sid));
    call->state = 2;
    call->timers = 2;
    /* Spread evenly over the 20 ms by the golden ratio, whatever the number of calls. */
    int64_t phase = (int64_t)(fmod(call->id * 0.6180339887, 1.0) * (double)TICK);
    int64_t at = now_ns() / TICK * TICK + TICK + phase;
    push((struct timer){at, call, false});
    push((struct timer){at + TICK / 2 + 1, call, true});
    printf("up %d\n", call->id);
    fflush(stdout);
}

static void on_text(struct conn *c, char *message, size_t len) {
    if (c->kind == MODEL) model_text(c->owner, message, len);
    else phone_text(c->owner, message, len);
}

static void on_gone(struct conn *c) {
    if (c->kind == MODEL) {
        struct session *s = c->owner;
        if (!s) return;
        if (s->call && s->call->session == s) s->call->session = NULL;
        free(s);
        return;
    }
    if (c->kind != PHONE) return;
    struct call *call = c->owner;
    if (call->state == 1) call->state = 0, printf("failed %d\n", call->id);
    else {
        if (call->measured) lost_calls++;
        call->state = 3;
        if (call->session) call->session->call = NULL;
        call->phone = NULL, call->session = NULL;
        printf("over %d\n", call->id);
    }
    fflush(stdout);
}

static void accept_all(int listener) {
    for (int fd; (fd = accept(listener, NULL, NULL)) >= 0;) conn_new(fd, MODEL, false, EPOLLIN);
}

int main(int argc, char **argv) {
    int port = 0, clock = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
    in_order = argc > 1 && !strcmp(argv[1], "in-order");
    epoll_fd = epoll_create1(0);
    int listener = listen_on(&port);
    struct conn fixed[3] = {{.fd = listener, .kind = LISTENER}, {.fd = clock, .kind = TIMER}, {.fd = 0, .kind = COMMANDS}};
    for (int i = 0; i < 3; i++) watch(&fixed[i], EPOLL_CTL_ADD, EPOLLIN);
    make_voices();
    printf("model %d\n", port);
    fflush(stdout);
    struct epoll_event events[64];
    int64_t armed = 0;
    while (true) {
        if (heap_len && heap[0].due != armed) {
            armed = heap[0].due;
            struct itimerspec when = {.it_value = {armed / 1000000000, armed % 1000000000}};
            timerfd_settime(clock, TFD_TIMER_ABSTIME, &when, NULL);
        }
        int n = epoll_wait(epoll_fd, events, 64, -1);
        for (int i = 0; i < n; i++) {
            struct conn *c = events[i].data.ptr;
            if (c->kind == LISTENER) accept_all(listener);
            else if (c->kind == TIMER) { uint64_t expired; armed = 0; if (read(clock, &expired, 8) < 0) continue; }
            else if (c->kind == COMMANDS) commands();
            else serve(c, events[i].events);
        }
        run_timers();
        free_gone();
    }
}
