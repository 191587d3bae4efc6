/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/*
 * Following what a client sends, message after message: RequestMachine of
 * l7proxy/compiler/head_sides.py, an event at a time.
 */

#define EVENT_MORE 0  /* everything was looked at, nothing is wrong so far */
#define EVENT_HEAD 1  /* a head is complete; its content follows unless phase says otherwise */
#define EVENT_END 2   /* the content of a message is complete */
#define EVENT_STOP 3  /* what comes is no request, or no content; nothing more is read */
#define EVENT_FAULT 4 /* bytes could not be read */

static inline int reason_of_stop(u32 stop)
{
    switch (stop) {
    case HEAD_REQUEST_STOP_BAD_REQUEST_LINE:
        return REASON_BAD_REQUEST_LINE;
    case HEAD_REQUEST_STOP_BAD_TARGET:
        return REASON_BAD_TARGET;
    case HEAD_REQUEST_STOP_BAD_LINE_END:
        return REASON_BAD_LINE_END;
    case HEAD_REQUEST_STOP_BAD_HEADER_NAME:
        return REASON_BAD_HEADER_NAME;
    case HEAD_REQUEST_STOP_BAD_HEADER_VALUE:
        return REASON_BAD_HEADER_VALUE;
    case HEAD_REQUEST_STOP_LINE_FOLDING:
        return REASON_LINE_FOLDING;
    case HEAD_REQUEST_STOP_NOT_HTTP:
        return REASON_NOT_HTTP;
    case HEAD_REQUEST_STOP_BAD_VERSION:
        return REASON_BAD_VERSION;
    default:
        return REASON_BAD_CHUNK;
    }
}

static inline void begin_request(struct http *http, struct grammar *grammar,
                                 struct rules_large *rules)
{
    walk_enter(&http->request, grammar->entries[HEAD_ENTRY_MESSAGE]);
    http->request.reading = rules->start[HEAD_SLOT_METHOD_AND_PATH];
    __builtin_memcpy(http->request.kept, rules->start, sizeof(http->request.kept));
    http->budget = LIMIT_HEAD_BYTES;
    http->phase = PHASE_HEAD;
}

/* What follows a head, whether its request is allowed or not. */
static inline void begin_content(struct http *http, struct grammar *grammar, struct head *head)
{
    http->content = head->framing == FRAMING_LENGTH ? head->length : 0;
    if (head->upgrade) {
        http->phase = PHASE_HELD;
    } else if (head->framing == FRAMING_CHUNKED) {
        http->phase = PHASE_CHUNKS;
        http->budget = LIMIT_CHUNK_LINE_BYTES;
        walk_enter(&http->request, grammar->entries[HEAD_ENTRY_CHUNK_SIZE]);
    } else if (head->length) {
        http->phase = PHASE_LENGTH;
        http->skip = head->length;
    } else {
        http->phase = PHASE_BOUNDARY;
    }
}

/* Follows the message from *at up to size, as far as the next event. */
static inline int follow(void *ctx, const int source, struct http *http, struct grammar *grammar,
                         struct rules_large *rules, u32 mask, u32 *at, u32 size)
{
    struct walker *walker = &http->request;
    struct head *head = &http->head;

    while (*at < size) {
        OR_GOTO(fault);
        u64 left = size - *at;

        if (http->skip) {
            u64 skipped = http->skip < left ? http->skip : left;

            http->skip -= skipped;
            *at += skipped;
            if (!http->skip && http->phase == PHASE_LENGTH) {
                http->phase = PHASE_BOUNDARY;
                return EVENT_END;
            }
            continue;
        }
        if (http->phase == PHASE_PASSING) {
            *at = size;
            break;
        }
        if (http->phase == PHASE_HELD) {
            head->reason = REASON_BYTES_BEFORE_UPGRADE;
            return EVENT_STOP;
        }
        if (http->phase == PHASE_BOUNDARY)
            begin_request(http, grammar, rules);
        if (!http->budget) {
            head->reason = REASON_HEAD_TOO_LARGE;
            return EVENT_STOP;
        }
        if (left > http->budget)
            left = http->budget;
        int end = walk(ctx, source, grammar, rules, mask, walker, *at, *at + left);

        if (end < 0)
            return EVENT_FAULT;
        http->budget -= end - *at;
        *at = end;
        int stopped = walker->row < grammar->first_running;

        OPAQUE(stopped);
        u32 stop = walker->row / (grammar->last + 1);

        if (http->phase == PHASE_HEAD) {
            if (walk_count(walker, HEAD_COUNT_TARGET) > LIMIT_TARGET_BYTES) {
                head->reason = REASON_TARGET_TOO_LONG;
                return EVENT_STOP;
            }
            if (!stopped)
                continue;
            walker->size = LIMIT_HEAD_BYTES - http->budget;
            if (stop != HEAD_REQUEST_STOP_HEAD_END) {
                head->reason = reason_of_stop(stop);
                return EVENT_STOP;
            }
            head->reason = request_meaning(grammar, walker, head);
            if (AGAIN(head->reason) != ACCEPTED)
                return EVENT_STOP;
            head->reason = decide(rules, mask, grammar, walker, head);
            begin_content(http, grammar, head);
            return EVENT_HEAD;
        }
        if (http->phase == PHASE_CHUNKS) {
            if ((!stopped && !http->budget) || walk_count(walker, HEAD_COUNT_DIGITS) > 16 ||
                (stopped && stop != HEAD_REQUEST_STOP_CHUNK_LINE) ||
                (stopped && walker->number >> 63)) {
                head->reason = REASON_BAD_CHUNK;
                return EVENT_STOP;
            }
            if (!stopped)
                continue;
            http->skip = walker->number;
            http->content += walker->number;
            if (http->skip) {
                http->budget = 2 + LIMIT_CHUNK_LINE_BYTES;
                walk_enter(walker, grammar->entries[HEAD_ENTRY_CHUNK_END]);
            } else {
                http->phase = PHASE_TRAILERS;
                http->budget = LIMIT_TRAILER_BYTES;
                walk_enter(walker, grammar->entries[HEAD_ENTRY_FIELDS]);
            }
            continue;
        }
        if ((!stopped && !http->budget) ||
            (stopped && walk_count(walker, HEAD_COUNT_FIELDS) > LIMIT_HEAD_FIELDS) ||
            (walker->flags & grammar->forbidden) ||
            (stopped && stop != HEAD_REQUEST_STOP_HEAD_END)) {
            head->reason = REASON_BAD_TRAILER;
            return EVENT_STOP;
        }
        if (stopped) {
            http->phase = PHASE_BOUNDARY;
            return EVENT_END;
        }
    }
    return EVENT_MORE;
fault:
    return EVENT_FAULT;
}
