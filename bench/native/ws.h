/* WebSockets (RFC 6455) over epoll, as bare as they can be: text frames, no extensions, one thread.
 * Included by load.c and relay.c, which provide on_open, on_text and on_gone. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

struct conn {
    int fd;
    int kind;               /* whatever the program says */
    bool client;            /* we connected: our frames are masked */
    bool open;              /* the handshake is done */
    bool gone;              /* closed, to be freed after this turn of the loop */
    void *owner;
    char *request;          /* a client's handshake, until it is sent */
    uint8_t *in, *out;
    size_t in_len, in_cap, out_len, out_cap;
    struct conn *next_gone;
};

static int epoll_fd;
static struct conn *gone_list;

static void on_open(struct conn *c, const char *request);
static void on_text(struct conn *c, char *text, size_t len);
static void on_gone(struct conn *c);

static void die(const char *what) {
    perror(what);
    exit(1);
}

/* --- SHA-1 and base64, for the handshake ------------------------------------------------------------------- */

static uint32_t rol(uint32_t x, int n) { return x << n | x >> (32 - n); }

static void sha1(const uint8_t *data, size_t len, uint8_t out[20]) {
    uint32_t h[5] = {0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476, 0xC3D2E1F0};
    uint8_t padded[256] = {0}; /* a key and its GUID have 60 bytes */
    size_t total = (len + 9 + 63) / 64 * 64;
    if (total > sizeof padded) exit(1);
    memcpy(padded, data, len);
    padded[len] = 0x80;
    for (int i = 0; i < 8; i++) padded[total - 1 - i] = (uint8_t)((uint64_t)len * 8 >> 8 * i);
    for (size_t at = 0; at < total; at += 64) {
        uint32_t w[80];
        for (int i = 0; i < 16; i++)
            w[i] = (uint32_t)padded[at + 4 * i] << 24 | padded[at + 4 * i + 1] << 16 | padded[at + 4 * i + 2] << 8 |
                   padded[at + 4 * i + 3];
        for (int i = 16; i < 80; i++) w[i] = rol(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);
        uint32_t a = h[0], b = h[1], c = h[2], d = h[3], e = h[4];
        for (int i = 0; i < 80; i++) {
            uint32_t f, k;
            if (i < 20) f = (b & c) | (~b & d), k = 0x5A827999;
            else if (i < 40) f = b ^ c ^ d, k = 0x6ED9EBA1;
            else if (i < 60) f = (b & c) | (b & d) | (c & d), k = 0x8F1BBCDC;
            else f = b ^ c ^ d, k = 0xCA62C1D6;
            uint32_t t = rol(a, 5) + f + e + k + w[i];
            e = d, d = c, c = rol(b, 30), b = a, a = t;
        }
        h[0] += a, h[1] += b, h[2] += c, h[3] += d, h[4] += e;
    }
    for (int i = 0; i < 20; i++) out[i] = (uint8_t)(h[i / 4] >> (24 - 8 * (i % 4)));
}

static const char DIGITS[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static size_t base64(const uint8_t *data, size_t len, char *out) {
    char *o = out;
    for (size_t i = 0; i < len; i += 3) {
        uint32_t v = data[i] << 16 | (i + 1 < len ? data[i + 1] << 8 : 0) | (i + 2 < len ? data[i + 2] : 0);
        *o++ = DIGITS[v >> 18];
        *o++ = DIGITS[v >> 12 & 63];
        *o++ = i + 1 < len ? DIGITS[v >> 6 & 63] : '=';
        *o++ = i + 2 < len ? DIGITS[v & 63] : '=';
    }
    *o = 0;
    return (size_t)(o - out);
}

/* --- JSON: the value of a key of the outermost object, as it stands there; strings without their quotes ------ */

static char *json_skip_string(char *p, char *end) { /* p is behind the opening quote */
    while (p < end) {
        p = memchr(p, '"', (size_t)(end - p));
        if (!p) return end;
        int slashes = 0;
        for (char *q = p - 1; *q == '\\'; q--) slashes++;
        if (slashes % 2 == 0) return p;
        p++;
    }
    return end;
}

static bool json_get(char *text, size_t len, const char *key, char **value, size_t *value_len) {
    char *p = text, *end = text + len;
    size_t key_len = strlen(key);
    int depth = 0;
    bool is_key = false;
    while (p < end) {
        char ch = *p++;
        if (ch == '{' || ch == '[') depth++, is_key = ch == '{';
        else if (ch == '}' || ch == ']') depth--, is_key = false;
        else if (ch == ',') is_key = depth == 1;
        else if (ch == '"') {
            char *begin = p, *close = json_skip_string(p, end);
            p = close + 1;
            if (!is_key || depth != 1) continue;
            is_key = false;
            if ((size_t)(close - begin) != key_len || memcmp(begin, key, key_len)) continue;
            while (p < end && (*p == ':' || *p == ' ')) p++;
            if (p < end && *p == '"') {
                *value = p + 1;
                *value_len = (size_t)(json_skip_string(p + 1, end) - *value);
                return true;
            }
            *value = p;
            for (int inner = 0; p < end; p++) {
                if (*p == '"') p = json_skip_string(p + 1, end);
                else if (*p == '{' || *p == '[') inner++;
                else if ((*p == '}' || *p == ']') && --inner <= 0) { if (inner == 0) p++; break; }
                else if (*p == ',' && inner == 0) break;
            }
            *value_len = (size_t)(p - *value);
            return true;
        }
    }
    return false;
}

static bool is(const char *value, size_t len, const char *text) {
    return len == strlen(text) && memcmp(value, text, len) == 0;
}

/* --- Sockets ------------------------------------------------------------------------------------------------ */

static void watch(struct conn *c, int operation, uint32_t events) {
    struct epoll_event e = {.events = events, .data.ptr = c};
    if (epoll_ctl(epoll_fd, operation, c->fd, &e)) die("epoll_ctl");
}

static void conn_close(struct conn *c) {
    if (c->gone) return;
    c->gone = true;
    close(c->fd);
    c->next_gone = gone_list;
    gone_list = c;
    on_gone(c);
}

static void free_gone(void) {
    while (gone_list) {
        struct conn *c = gone_list;
        gone_list = c->next_gone;
        free(c->in), free(c->out), free(c->request), free(c);
    }
}

static void room(uint8_t **buffer, size_t *cap, size_t need) {
    if (need <= *cap) return;
    *cap = need * 2;
    *buffer = realloc(*buffer, *cap);
    if (!*buffer) die("realloc");
}

static void send_bytes(struct conn *c, const void *data, size_t len) {
    if (c->gone) return;
    size_t sent = 0;
    if (!c->out_len) {
        ssize_t n = send(c->fd, data, len, MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN) { conn_close(c); return; }
        sent = n > 0 ? (size_t)n : 0;
        if (sent == len) return;
        watch(c, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
    }
    room(&c->out, &c->out_cap, c->out_len + len - sent);
    memcpy(c->out + c->out_len, (const char *)data + sent, len - sent);
    c->out_len += len - sent;
}

static void send_frame(struct conn *c, int opcode, const char *text, size_t len) {
    static uint8_t frame[1 << 16];
    static const uint8_t mask[8] = {0x37, 0xfa, 0x21, 0x3d, 0x37, 0xfa, 0x21, 0x3d};
    if (len > sizeof frame - 16) { fprintf(stderr, "too long: %zu\n", len); exit(1); }
    size_t at = 0;
    frame[at++] = (uint8_t)(0x80 | opcode);
    if (len < 126) frame[at++] = (uint8_t)len;
    else frame[at++] = 126, frame[at++] = (uint8_t)(len >> 8), frame[at++] = (uint8_t)len;
    if (c->client) {
        frame[1] |= 0x80;
        memcpy(frame + at, mask, 4);
        at += 4;
        uint64_t key, word;
        memcpy(&key, mask, 8);
        size_t i = 0;
        for (; i + 8 <= len; i += 8) {
            memcpy(&word, text + i, 8);
            word ^= key;
            memcpy(frame + at + i, &word, 8);
        }
        for (; i < len; i++) frame[at + i] = (uint8_t)text[i] ^ mask[i & 3];
    } else memcpy(frame + at, text, len);
    send_bytes(c, frame, at + len);
}

static void send_text(struct conn *c, const char *text, size_t len) { send_frame(c, 1, text, len); }

static struct conn *conn_new(int fd, int kind, bool client, uint32_t events) {
    struct conn *c = calloc(1, sizeof *c);
    int on = 1;
    fcntl(fd, F_SETFL, O_NONBLOCK);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    c->fd = fd, c->kind = kind, c->client = client;
    watch(c, EPOLL_CTL_ADD, events);
    return c;
}

static struct conn *conn_connect(int port, int kind, const char *path, const char *host, const char *headers) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (fd < 0) die("socket");
    if (connect(fd, (struct sockaddr *)&to, sizeof to) && errno != EINPROGRESS) { close(fd); return NULL; }
    struct conn *c = conn_new(fd, kind, true, EPOLLIN | EPOLLOUT);
    if (asprintf(&c->request,
                 "GET %s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                 "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n%s\r\n",
                 path, host, headers) < 0) die("asprintf");
    return c;
}

static int listen_on(int *port) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)*port)};
    socklen_t size = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof at) || listen(fd, 1024)) die("listen");
    getsockname(fd, (struct sockaddr *)&at, &size);
    *port = ntohs(at.sin_port);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    return fd;
}

static void handshake(struct conn *c) {
    uint8_t *end = memmem(c->in, c->in_len, "\r\n\r\n", 4);
    if (!end) return;
    *end = 0;
    char *head = (char *)c->in;
    if (c->client) {
        if (strncmp(head, "HTTP/1.1 101", 12)) { conn_close(c); return; }
    } else {
        char *key = strcasestr(head, "sec-websocket-key:"), joined[128], accept[40], answer[256];
        uint8_t digest[20];
        if (!key) { /* a health check */
            const char *ok = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            send_bytes(c, ok, strlen(ok));
            conn_close(c);
            return;
        }
        key += 18 + strspn(key + 18, " ");
        int n = snprintf(joined, sizeof joined, "%.*s258EAFA5-E914-47DA-95CA-C5AB0DC85B11",
                         (int)strcspn(key, "\r\n"), key);
        sha1((uint8_t *)joined, (size_t)n, digest);
        base64(digest, 20, accept);
        n = snprintf(answer, sizeof answer,
                     "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                     "Sec-WebSocket-Accept: %s\r\n\r\n", accept);
        send_bytes(c, answer, (size_t)n);
    }
    c->open = true;
    on_open(c, head);
    size_t used = (size_t)(end + 4 - c->in);
    memmove(c->in, c->in + used, c->in_len - used);
    c->in_len -= used;
}

static void frames(struct conn *c) {
    size_t at = 0;
    while (!c->gone && c->in_len - at >= 2) {
        uint8_t *p = c->in + at;
        size_t head = 2, len = p[1] & 0x7f, left = c->in_len - at;
        bool masked = p[1] & 0x80;
        if (len == 126) {
            if (left < 4) break;
            len = (size_t)p[2] << 8 | p[3], head = 4;
        } else if (len == 127) {
            if (left < 10) break;
            len = (size_t)p[6] << 24 | p[7] << 16 | p[8] << 8 | p[9], head = 10;
        }
        if (masked) head += 4;
        if (left < head + len) break;
        uint8_t *body = p + head, *mask = p + head - 4;
        if (masked)
            for (size_t i = 0; i < len; i++) body[i] ^= mask[i & 3];
        at += head + len;
        int opcode = p[0] & 15;
        if (opcode == 1 || opcode == 2) on_text(c, (char *)body, len);
        else if (opcode == 8) { send_frame(c, 8, (char *)body, len < 2 ? 0 : 2); conn_close(c); }
        else if (opcode == 9) send_frame(c, 10, (char *)body, len);
    }
    if (c->gone) return;
    memmove(c->in, c->in + at, c->in_len - at);
    c->in_len -= at;
}

static void serve(struct conn *c, uint32_t events) {
    if (c->gone) return;
    if (events & EPOLLOUT) {
        if (c->request) {
            char *request = c->request;
            c->request = NULL;
            watch(c, EPOLL_CTL_MOD, EPOLLIN);
            send_bytes(c, request, strlen(request));
            free(request);
        } else if (c->out_len) {
            ssize_t n = send(c->fd, c->out, c->out_len, MSG_NOSIGNAL);
            if (n < 0 && errno != EAGAIN) { conn_close(c); return; }
            if (n > 0) memmove(c->out, c->out + n, c->out_len -= (size_t)n);
            if (!c->out_len) watch(c, EPOLL_CTL_MOD, EPOLLIN);
        }
    }
    if (c->gone || !(events & (EPOLLIN | EPOLLERR | EPOLLHUP))) return;
    room(&c->in, &c->in_cap, c->in_len + 16384);
    ssize_t n = recv(c->fd, c->in + c->in_len, c->in_cap - c->in_len, 0);
    if (n == 0 || (n < 0 && errno != EAGAIN)) { conn_close(c); return; }
    if (n < 0) return;
    c->in_len += (size_t)n;
    if (!c->open) handshake(c);
    if (!c->gone && c->open) frames(c);
}
