/* A client in C, written from docs/protocol.md alone: libzmq and a hundred lines of msgpack.

   minimal_client DIRECTORY USER PASSWORD [VERSION], then one command a line on stdin; each is answered by lines that end
   with "." alone. Errors of the connection end the program with status 2. */

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zmq.h>

enum { CALL = 3, OPEN, CAST, RESULT, ERROR, CHUNK, END, CREDIT, CANCEL, PUBLISH, MONITOR = 14, MARK = 16, ACK, BYE,
       WELCOME = 32, REJECTED, REQUEST, TOLD, FAILED, SUBSCRIBED, DENIED, CHANGED, SNAPSHOT, GOODBYE = 42, EVENT = 48 };

static void *context, *mains, *events;
static const char *directory;
static char name[256], secret[256], marks[256];
static uint64_t incarnation, epoch, frame_limit, window, next_id, sent, marked, acked, sequence;

static void die(const char *what) { printf("fatal %s\n", what); exit(2); }

/* msgpack */

typedef struct { unsigned char *at, *end; } In;
typedef struct { unsigned char data[70000]; size_t size; } Out;

static void put(Out *out, const void *bytes, size_t size) {
    if (out->size + size > sizeof out->data) die("a message is too long for this client");
    memcpy(out->data + out->size, bytes, size);
    out->size += size;
}
static void put_number(Out *out, unsigned char kind, uint64_t value, int bytes) {
    put(out, &kind, 1);
    while (bytes--) { unsigned char byte = value >> 8 * bytes; put(out, &byte, 1); }
}
static void put_int(Out *out, uint64_t value) { put_number(out, 0xcf, value, 8); }
static void put_bool(Out *out, int value) { put_number(out, value ? 0xc3 : 0xc2, 0, 0); }
static void put_str(Out *out, const char *text) { put_number(out, 0xda, strlen(text), 2); put(out, text, strlen(text)); }
static void put_bin(Out *out, size_t size) {
    static const unsigned char zeros[60000];
    put_number(out, 0xc6, size, 4);
    put(out, zeros, size);
}
static void put_list(Out *out, unsigned size) { put_number(out, 0xdc, size, 2); }
static void put_map(Out *out, unsigned size) { put_number(out, 0xde, size, 2); }

static unsigned char get(In *in) { if (in->at >= in->end) die("msgpack ends too soon"); return *in->at++; }
static uint64_t get_number(In *in, int bytes) { uint64_t value = 0; while (bytes--) value = value << 8 | get(in); return value; }
static unsigned get_list(In *in) {
    unsigned char kind = get(in);
    return kind >> 4 == 9 ? kind & 15 : kind == 0xdc ? get_number(in, 2) : kind == 0xdd ? get_number(in, 4) : (die("no list"), 0);
}
static uint64_t get_int(In *in) {
    unsigned char kind = get(in);
    if (kind < 0x80) return kind;
    if (kind == 0xc0) return 0; /* nil: an absent credit */
    if (kind < 0xcc || kind > 0xcf) die("no integer");
    return get_number(in, 1 << (kind - 0xcc));
}
static int get_bool(In *in) { unsigned char kind = get(in); if (kind != 0xc2 && kind != 0xc3) die("no bool"); return kind == 0xc3; }
static void get_str(In *in, char *text, size_t room) {
    unsigned char kind = get(in);
    size_t size = kind >> 5 == 5 ? kind & 31 : kind == 0xd9 ? get_number(in, 1) : kind == 0xda ? get_number(in, 2)
                : kind == 0xdb ? get_number(in, 4) : (die("no text"), 0);
    if (size > (size_t)(in->end - in->at)) die("text ends too soon");
    size_t kept = size < room - 1 ? size : room - 1;
    memcpy(text, in->at, kept);
    text[kept] = 0;
    in->at += size;
}
/* Any value, as text: strings and integers as they are, binary as its length, lists and maps in brackets. */
static void show(In *in) {
    unsigned char kind = *in->at;
    static char text[70000];
    if (kind < 0x80 || (kind >= 0xcc && kind <= 0xcf)) printf("%llu", (unsigned long long)get_int(in));
    else if (kind >> 5 == 5 || (kind >= 0xd9 && kind <= 0xdb)) { get_str(in, text, sizeof text); printf("%s", text); }
    else if (kind == 0xc2 || kind == 0xc3) printf(get_bool(in) ? "true" : "false");
    else if (kind == 0xc0) { get(in); printf("nil"); }
    else if (kind >= 0xc4 && kind <= 0xc6) {
        get(in);
        uint64_t size = get_number(in, 1 << (kind - 0xc4));
        printf("bin%llu", (unsigned long long)size);
        in->at += size;
    } else if (kind >> 4 == 9 || kind == 0xdc || kind == 0xdd) {
        unsigned count = get_list(in);
        printf("[");
        for (unsigned n = 0; n < count; n++) { if (n) printf(" "); show(in); }
        printf("]");
    } else if (kind >> 4 == 8 || kind == 0xde) {
        get(in);
        unsigned count = kind == 0xde ? get_number(in, 2) : kind & 15;
        printf("{");
        for (unsigned n = 0; n < count; n++) { if (n) printf(" "); show(in); printf(":"); show(in); }
        printf("}");
    } else printf("?%02x", get(in));
}

/* Messages */

static Out header(int kind, unsigned fields) { Out out; out.size = 0; put_list(&out, fields + 1); put_int(&out, kind); return out; }

static void push(Out *head, Out *payload) {
    if (zmq_send(mains, head->data, head->size, payload ? ZMQ_SNDMORE : 0) < 0 ||
        (payload && zmq_send(mains, payload->data, payload->size, 0) < 0)) die("sending failed");
    sent += head->size + 128 + (payload ? payload->size : 0);
}
static In receive(int *kind, unsigned *fields, In *payload);
static void post(Out head, Out *payload) {
    push(&head, payload);
    if (sent - marked < 256 * 1024) return;
    marked = sent;
    Out mark = header(MARK, 1);
    put_int(&mark, sent);
    push(&mark, NULL);
}

typedef struct { zmq_msg_t parts[3]; int count; } Frames;
static Frames frames;
static void read_frames(void *socket) {
    for (int n = 0; n < frames.count; n++) zmq_msg_close(&frames.parts[n]);
    frames.count = 0;
    do {
        if (frames.count == 3) die("too many frames");
        zmq_msg_init(&frames.parts[frames.count]);
        if (zmq_msg_recv(&frames.parts[frames.count++], socket, 0) < 0) die("nothing came");
    } while (zmq_msg_more(&frames.parts[frames.count - 1]));
}
static In part(int n) {
    In in = {zmq_msg_data(&frames.parts[n]), NULL};
    in.end = in.at + zmq_msg_size(&frames.parts[n]);
    return in;
}
static void ack(uint64_t total, int of_events) {
    Out out = header(ACK, 2);
    put_int(&out, total);
    put_bool(&out, of_events);
    push(&out, NULL);
}
/* The next message on the main socket that is not about bytes. */
static In receive(int *kind, unsigned *fields, In *payload) {
    for (;;) {
        read_frames(mains);
        In in = part(0);
        *fields = get_list(&in) - 1;
        *kind = get_int(&in);
        if (*kind == MARK) ack(get_int(&in), 0);
        else if (*kind == ACK) acked = get_int(&in);
        else {
            if (payload && frames.count > 1) *payload = part(1);
            return in;
        }
    }
}

/* Connecting */

static void *connected(int type, const char *end, const char *user, const char *password) {
    int zero = 0, one = 1, patience = 10000;
    void *made = zmq_socket(context, type);
    zmq_setsockopt(made, ZMQ_LINGER, &zero, sizeof zero);
    zmq_setsockopt(made, ZMQ_RCVHWM, &zero, sizeof zero);
    zmq_setsockopt(made, ZMQ_RCVTIMEO, &patience, sizeof patience);
    zmq_setsockopt(made, ZMQ_SNDTIMEO, &patience, sizeof patience);
    if (type == ZMQ_DEALER) zmq_setsockopt(made, ZMQ_IMMEDIATE, &one, sizeof one);
    zmq_setsockopt(made, ZMQ_PLAIN_USERNAME, user, strlen(user));
    zmq_setsockopt(made, ZMQ_PLAIN_PASSWORD, password, strlen(password));
    char endpoint[300];
    snprintf(endpoint, sizeof endpoint, "ipc://%s/%s", directory, end);
    void *watch = NULL;
    if (type == ZMQ_DEALER) {
        zmq_socket_monitor(made, "inproc://watch", ZMQ_EVENT_HANDSHAKE_SUCCEEDED | ZMQ_EVENT_HANDSHAKE_FAILED_AUTH);
        watch = zmq_socket(context, ZMQ_PAIR);
        zmq_setsockopt(watch, ZMQ_RCVTIMEO, &patience, sizeof patience);
        zmq_connect(watch, "inproc://watch");
    }
    if (zmq_connect(made, endpoint) < 0) die("no such endpoint");
    if (watch) {
        unsigned char event[6];
        if (zmq_recv(watch, event, sizeof event, 0) < 6) die("no handshake");
        uint16_t number;
        memcpy(&number, event, sizeof number);
        if (number == ZMQ_EVENT_HANDSHAKE_FAILED_AUTH) die("wrong user name or password");
        zmq_socket_monitor(made, NULL, 0);
        zmq_close(watch);
    }
    return made;
}

static void join(const char *user, const char *password, int version) {
    int kind; unsigned fields; char text[1000];
    mains = connected(ZMQ_DEALER, "bus", user, password);
    Out hello = header(1, 3);
    put_str(&hello, "egghead-ipc"); put_int(&hello, version); put_str(&hello, "minimal-c");
    post(hello, NULL);
    In in = receive(&kind, &fields, NULL);
    if (kind == REJECTED) { get_str(&in, text, sizeof text); die(text); }
    if (kind != WELCOME || fields < 8) die("no Welcome");
    get_int(&in);
    get_str(&in, name, sizeof name);
    incarnation = get_int(&in); epoch = get_int(&in);
    get_str(&in, secret, sizeof secret); get_str(&in, marks, sizeof marks);
    frame_limit = get_int(&in); window = get_int(&in);
    printf("welcome %s %llu %llu\n", name, (unsigned long long)incarnation, (unsigned long long)epoch);
}

/* Asking */

static Out text_params(const char *text) {
    Out out; out.size = 0;
    if (!text) { put_map(&out, 0); return out; }
    put_map(&out, 1); put_str(&out, "x"); put_str(&out, text);
    return out;
}
static void ask(int kind, const char *target, const char *method, uint64_t timeout, uint64_t credit, Out params) {
    Out out = header(kind, kind == OPEN ? 5 : 4);
    put_int(&out, ++next_id); put_str(&out, target); put_str(&out, method); put_int(&out, timeout);
    if (kind == OPEN) put_int(&out, credit);
    post(out, &params);
}
/* Answers to the last question; `most` chunks, then Cancel. */
static void answers(uint64_t most) {
    int kind; unsigned fields; char text[1000], more[1000]; uint64_t count = 0, bytes = 0;
    for (;;) {
        In payload = {NULL, NULL}, in = receive(&kind, &fields, &payload);
        if (kind < RESULT || (kind > END && kind != FAILED) || get_int(&in) != next_id) continue;
        if (kind == RESULT) { printf("result "); show(&payload); printf("\n"); return; }
        if (kind == ERROR) { get_str(&in, text, sizeof text); get_str(&in, more, sizeof more); printf("error %s: %s ", text, more); show(&payload); printf("\n"); return; }
        if (kind == FAILED) { get_str(&in, text, sizeof text); get_str(&in, more, sizeof more); printf("failed %s %s\n", text, more); return; }
        if (kind == END) { printf("end after %llu chunks, %llu bytes\n", (unsigned long long)count, (unsigned long long)bytes); return; }
        uint64_t size = payload.end - payload.at;
        count++; bytes += size;
        if (count == most) {
            Out cancel = header(CANCEL, 1);
            put_int(&cancel, next_id);
            post(cancel, NULL);
            printf("cancelled after %llu chunks\n", (unsigned long long)count);
            return;
        }
        Out credit = header(CREDIT, 2);
        put_int(&credit, next_id); put_int(&credit, size + 64);
        post(credit, NULL);
    }
}

/* Answering */

static void serve(uint64_t chunks, uint64_t size) {
    int kind; unsigned fields; char caller[256], method[256]; uint64_t stopped = 0, made = 0;
    In payload = {NULL, NULL}, in;
    do in = receive(&kind, &fields, &payload); while (kind != REQUEST && kind != TOLD);
    uint64_t number = kind == REQUEST ? get_int(&in) : 0;
    get_str(&in, caller, sizeof caller);
    uint64_t life = get_int(&in);
    get_str(&in, method, sizeof method);
    printf("%s %s %s %llu ", kind == REQUEST ? "request" : "told", method, caller, (unsigned long long)life);
    Out value; value.size = 0;
    put(&value, payload.at, payload.end - payload.at);
    show(&payload);
    if (kind == TOLD) { printf("\n"); return; }
    uint64_t timeout = get_int(&in);
    int is_stream = fields > 5 && *in.at != 0xc0;
    int64_t credit = fields > 5 ? get_int(&in) : 0;
    uint64_t attempt = fields > 6 ? get_int(&in) : 1;
    printf(" timeout %s attempt %llu\n", timeout > 0 ? "set" : "none", (unsigned long long)attempt);
    if (!strcmp(method, "echo") && !is_stream) { Out out = header(RESULT, 1); put_int(&out, number); post(out, &value); return; }
    if (!strcmp(method, "count") && is_stream) {
        while (made < chunks && !stopped) {
            while (credit > 0 && made < chunks) {
                Out out = header(CHUNK, 1), chunk; chunk.size = 0;
                put_int(&out, number);
                put_list(&chunk, 2); put_int(&chunk, made++); put_bin(&chunk, size);
                credit -= chunk.size + 64;
                post(out, &chunk);
            }
            if (made == chunks) break;
            in = receive(&kind, &fields, &payload);
            if (kind == CREDIT && get_int(&in) == number) credit += get_int(&in);
            else if (kind == CANCEL && get_int(&in) == number) stopped = 1;
        }
        printf("%s %llu chunks\n", stopped ? "stopped after" : "gave", (unsigned long long)made);
        if (stopped) return;
        Out out = header(END, 1); put_int(&out, number); post(out, NULL);
        return;
    }
    Out out = header(ERROR, 3), data; data.size = 0;
    put_int(&out, number); put_str(&out, "NoSuchMethod"); put_str(&out, method);
    put_map(&data, 1); put_str(&data, "method"); put_str(&data, method);
    post(out, &data);
}

/* Events and monitors */

static void subscribe(const char *prefix) {
    int kind; unsigned fields; char text[1000];
    if (!events) {
        events = connected(ZMQ_SUB, "events", "events", secret);
        zmq_setsockopt(events, ZMQ_SUBSCRIBE, marks, strlen(marks));
    }
    zmq_setsockopt(events, ZMQ_SUBSCRIBE, prefix, strlen(prefix));
    for (;;) {
        In in = receive(&kind, &fields, NULL);
        if (kind != SUBSCRIBED && kind != DENIED) continue;
        get_str(&in, text, sizeof text);
        if (strcmp(text, prefix)) continue;
        printf("%s\n", kind == SUBSCRIBED ? "subscribed" : "denied");
        return;
    }
}
static void read_events(uint64_t wanted) {
    char by[256]; uint64_t last = 0, gaps = 0;
    for (uint64_t count = 0; count < wanted;) {
        read_frames(events);
        In in = part(1);
        get_list(&in);
        int kind = get_int(&in);
        if (kind == MARK) ack(get_int(&in), 1);
        if (kind != EVENT) continue;
        get_str(&in, by, sizeof by);
        get_int(&in);
        if (get_int(&in) != epoch) die("an event of another epoch");
        uint64_t seq = get_int(&in);
        gaps += last && seq != last + 1;
        last = seq;
        if (++count == wanted) {
            printf("event %.*s %s %llu gaps %llu ", (int)zmq_msg_size(&frames.parts[0]), (char *)zmq_msg_data(&frames.parts[0]), by,
                   (unsigned long long)seq, (unsigned long long)gaps);
            In data = part(2);
            show(&data);
            printf("\n");
        }
    }
}
static void changes(const char *pattern, uint64_t wanted) {
    int kind; unsigned fields; char who[256], reason[1000]; static uint64_t id;
    if (pattern) {
        Out out = header(MONITOR, 2);
        put_int(&out, id = ++next_id); put_str(&out, pattern);
        post(out, NULL);
    }
    for (;;) {
        In in = receive(&kind, &fields, NULL);
        if ((kind != CHANGED && kind != SNAPSHOT && kind != FAILED) || get_int(&in) != id) continue;
        if (kind == SNAPSHOT) { printf("snapshot\n"); return; }
        if (kind == FAILED) { get_str(&in, who, sizeof who); printf("failed %s\n", who); return; }
        get_str(&in, who, sizeof who);
        get_int(&in);
        int up = get_bool(&in);
        get_str(&in, reason, sizeof reason);
        printf("%s %s %s%s\n", up ? "up" : "down", who, reason, get_bool(&in) ? " planned" : "");
        if (!pattern && !--wanted) return;
    }
}

int main(int count, char **given) {
    char line[2000], word[5][400];
    if (count < 4) die("usage: DIRECTORY USER PASSWORD [VERSION]");
    directory = given[1];
    context = zmq_ctx_new();
    setvbuf(stdout, NULL, _IOFBF, 1 << 16);
    join(given[2], given[3], count > 4 ? atoi(given[4]) : 1);
    printf(".\n");
    fflush(stdout);
    while (fgets(line, sizeof line, stdin)) {
        memset(word, 0, sizeof word);
        sscanf(line, "%399s %399s %399s %399s %399s", word[0], word[1], word[2], word[3], word[4]);
        const char *verb = word[0];
        if (!strcmp(verb, "call")) { ask(CALL, word[1], word[2], 10000, 0, text_params(*word[3] ? word[3] : NULL)); answers(0); }
        else if (!strcmp(verb, "stream")) {
            Out params; params.size = 0;
            put_map(&params, 2); put_str(&params, "n"); put_int(&params, atoll(word[3])); put_str(&params, "size"); put_int(&params, 10000);
            ask(OPEN, word[1], word[2], 30000, 100000, params);
            answers(atoll(word[4]));
        }
        else if (!strcmp(verb, "announce")) post(header(2, 0), NULL);
        else if (!strcmp(verb, "cast")) { Out out = header(CAST, 2), params = text_params(word[3]); put_str(&out, word[1]); put_str(&out, word[2]); post(out, &params); }
        else if (!strcmp(verb, "publish")) {
            for (long n = atol(word[2]); n > 0; n--) {
                Out out = header(PUBLISH, 2), data; data.size = 0;
                put_str(&out, word[1]); put_int(&out, ++sequence);
                put_list(&data, 2); put_int(&data, sequence); put_bin(&data, 10000);
                post(out, &data);
                while (sent - acked > window - 100000) { int kind; unsigned fields; read_frames(mains); In in = part(0); fields = get_list(&in); kind = get_int(&in); (void)fields; if (kind == ACK) acked = get_int(&in); else if (kind == MARK) ack(get_int(&in), 0); }
            }
        }
        else if (!strcmp(verb, "subscribe")) subscribe(word[1]);
        else if (!strcmp(verb, "events")) read_events(atoll(word[1]));
        else if (!strcmp(verb, "monitor")) changes(word[1], 0);
        else if (!strcmp(verb, "changes")) changes(NULL, atoll(word[1]));
        else if (!strcmp(verb, "serve")) serve(atoll(word[1]), atoll(word[2]));
        else if (!strcmp(verb, "bye")) {
            int kind; unsigned fields;
            post(header(BYE, 0), NULL);
            do receive(&kind, &fields, NULL); while (kind != GOODBYE);
        }
        else printf("unknown %s\n", verb);
        printf(".\n");
        fflush(stdout);
        if (!strcmp(verb, "bye")) break;
    }
    for (int n = 0; n < frames.count; n++) zmq_msg_close(&frames.parts[n]);
    if (events) zmq_close(events);
    zmq_close(mains);
    zmq_ctx_term(context);
    return 0;
}
