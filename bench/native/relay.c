/* The floor: what one thread of this kernel needs to pass a call's audio on, with nothing around it.
 *
 * Twilio's media stream on one side, an OpenAI Realtime session on the other: a receive and a send for each message,
 * audio left as it is. It keeps no books, knows no turns and survives nothing.
 *
 *   relay PORT MODEL_PORT */
#include "ws.h"

enum { LISTENER, PHONE, MODEL };

struct call {
    struct conn *phone, *model;
    char stream_sid[64];
};

static int model_port;
static char text[1 << 16];

static void to_model(struct call *c, const char *message) { send_text(c->model, message, strlen(message)); }

static void on_open(struct conn *c, const char *request) {
    (void)request;
    if (c->kind == PHONE) {
        struct call *call = calloc(1, sizeof *call);
        call->phone = c, c->owner = call;
        call->model = conn_connect(model_port, MODEL, "/v1/realtime?model=bench", "127.0.0.1", "");
        if (!call->model) exit(1);
        call->model->owner = call;
        return;
    }
    to_model(c->owner, "{\"type\":\"session.update\",\"session\":{\"type\":\"realtime\",\"audio\":{\"input\":{\"format\":"
                       "{\"type\":\"audio/pcmu\"}},\"output\":{\"format\":{\"type\":\"audio/pcmu\"}}}}}");
    to_model(c->owner, "{\"type\":\"response.create\"}");
}

static void phone_text(struct call *c, char *message, size_t len) {
    char *event, *value, *inner;
    size_t event_len, value_len, inner_len;
    if (!json_get(message, len, "event", &event, &event_len)) return;
    if (is(event, event_len, "media")) {
        if (!c->model || !c->model->open || !json_get(message, len, "media", &value, &value_len) ||
            !json_get(value, value_len, "payload", &inner, &inner_len)) return;
        size_t n = (size_t)snprintf(text, sizeof text, "{\"type\":\"input_audio_buffer.append\",\"audio\":\"%.*s\"}",
                                    (int)inner_len, inner);
        send_text(c->model, text, n);
    } else if (is(event, event_len, "start") && json_get(message, len, "streamSid", &value, &value_len)) {
        snprintf(c->stream_sid, sizeof c->stream_sid, "%.*s", (int)value_len, value);
    }
}

static void model_text(struct call *c, char *message, size_t len) {
    char *kind, *value;
    size_t kind_len, value_len, n;
    if (!c->phone || !json_get(message, len, "type", &kind, &kind_len)) return;
    if (is(kind, kind_len, "response.output_audio.delta") && json_get(message, len, "delta", &value, &value_len))
        n = (size_t)snprintf(text, sizeof text, "{\"event\":\"media\",\"streamSid\":\"%s\",\"media\":{\"payload\":\"%.*s\"}}",
                             c->stream_sid, (int)value_len, value);
    else if (is(kind, kind_len, "input_audio_buffer.speech_started"))
        n = (size_t)snprintf(text, sizeof text, "{\"event\":\"clear\",\"streamSid\":\"%s\"}", c->stream_sid);
    else return;
    send_text(c->phone, text, n);
}

static void on_text(struct conn *c, char *message, size_t len) {
    if (c->kind == PHONE) phone_text(c->owner, message, len);
    else model_text(c->owner, message, len);
}

static void on_gone(struct conn *c) {
    struct call *call = c->owner;
    if (!call) return;
    if (c->kind == PHONE) call->phone = NULL;
    else call->model = NULL;
    struct conn *other = c->kind == PHONE ? call->model : call->phone;
    if (other) conn_close(other);
    else free(call);
}

int main(int argc, char **argv) {
    if (argc != 3) return 2;
    int port = atoi(argv[1]);
    model_port = atoi(argv[2]);
    epoll_fd = epoll_create1(0);
    struct conn listener = {.fd = listen_on(&port), .kind = LISTENER};
    watch(&listener, EPOLL_CTL_ADD, EPOLLIN);
    struct epoll_event events[64];
    while (true) {
        int n = epoll_wait(epoll_fd, events, 64, -1);
        for (int i = 0; i < n; i++) {
            struct conn *c = events[i].data.ptr;
            if (c->kind == LISTENER)
                for (int fd; (fd = accept(listener.fd, NULL, NULL)) >= 0;) conn_new(fd, PHONE, false, EPOLLIN);
            else serve(c, events[i].events);
        }
        free_gone();
    }
}
