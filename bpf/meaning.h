/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/*
 * What a head means once its last byte was walked over: l7proxy/compiler/head_meaning.py, with
 * the faults looked at in the same order.
 */

#define ACCEPTED -1

#define FRAMING_NONE 0
#define FRAMING_LENGTH 1
#define FRAMING_CHUNKED 2
#define FRAMING_UNTIL_CLOSE 3

static inline int target_fault(struct walker *w)
{
    if (HAS(w, CONNECT))
        return REASON_METHOD_CONNECT;
    if (HAS(w, BAD_TARGET) || (HAS(w, ASTERISK) && !HAS(w, OPTIONS)))
        return REASON_BAD_TARGET;
    if (HAS(w, BAD_ENCODING))
        return REASON_BAD_PATH_ENCODING;
    return HAS(w, ABSOLUTE) ? REASON_ABSOLUTE_FORM : ACCEPTED;
}

static inline int host_fault(struct walker *w)
{
    u32 size = walk_count(w, HEAD_COUNT_HOST);
    int right;

    if (!HAS(w, HOST))
        return HAS(w, HTTP10) ? ACCEPTED : REASON_BAD_HOST;
    if (REPEATS(w, HOST) || HAS(w, BAD_HOST) || HAS(w, DOTTED_LITERAL))
        return REASON_BAD_HOST;
    if (HAS(w, LITERAL))
        right = size == 8; /* groups of an IPv6 address */
    else if (HAS(w, SHORT_LITERAL))
        right = size < 8;
    else
        right = size <= 255;
    return right ? ACCEPTED : REASON_BAD_HOST;
}

static inline int framing_of(struct walker *w, struct head *head)
{
    head->framing = FRAMING_NONE;
    head->length = 0;
    if (HAS(w, CODING)) {
        if (HAS(w, LENGTH))
            return REASON_LENGTH_AND_CODING;
        if (HAS(w, HTTP10))
            return REASON_CODING_ON_HTTP10;
        if (HAS(w, BAD_CODING) || REPEATS(w, CODING))
            return REASON_BAD_CODING;
        head->framing = FRAMING_CHUNKED;
        return ACCEPTED;
    }
    if (!HAS(w, LENGTH))
        return ACCEPTED;
    if (HAS(w, BAD_LENGTH) || REPEATS(w, LENGTH) || walk_count(w, HEAD_COUNT_DIGITS) > 18)
        return REASON_BAD_CONTENT_LENGTH;
    head->framing = FRAMING_LENGTH;
    head->length = w->number;
    return ACCEPTED;
}

/* Without branches: the verifier would follow each by itself. */
#define BIT(word, flag) ((word) >> HEAD_FLAG_##flag & 1)

static inline u64 keeps_alive(struct walker *w)
{
    u64 flags = w->flags;

    return (BIT(flags, CLOSE) ^ 1) & (BIT(flags, KEEP_ALIVE) | (BIT(flags, HTTP10) ^ 1));
}

/* ACCEPTED and *head, or the reason why the request is refused before any rule is asked. */
static inline int request_meaning(struct grammar *grammar, struct walker *w, struct head *head)
{
    u64 flags = w->flags, twice = w->twice, current = BIT(flags, HTTP10) ^ 1, content;
    int fault;

    head->is_head = BIT(flags, HEAD);
    head->http10 = current ^ 1;
    head->keep_alive = 0;
    head->expects = 0;
    head->upgrade = 0;
    if (walk_count(w, HEAD_COUNT_FIELDS) > LIMIT_HEAD_FIELDS)
        return REASON_HEAD_TOO_LARGE;
    fault = target_fault(w);
    if (fault != ACCEPTED)
        return fault;
    fault = host_fault(w);
    if (fault != ACCEPTED)
        return fault;
    fault = framing_of(w, head);
    if (fault != ACCEPTED)
        return fault;
    if (HAS(w, BAD_OPTION))
        return REASON_BAD_HEADER_VALUE;
    if (HAS(w, ESCAPED_SLASH) || HAS(w, NOT_NORMAL))
        return REASON_PATH_NOT_NORMAL;
    if (HAS(w, NAMES_WATCHED) || (w->twice & grammar->present))
        return REASON_UNDECIDABLE_HEADER;
    head->keep_alive = keeps_alive(w);
    content = BIT(flags, CODING) | is_nonzero(head->length);
    head->upgrade = BIT(flags, UPGRADE_OPTION) & BIT(flags, WEBSOCKET) & current & (content ^ 1);
    head->expects = BIT(flags, EXPECT) & (BIT(flags, BAD_EXPECT) ^ 1) & (BIT(twice, EXPECT) ^ 1) &
                    current & content;
    return ACCEPTED;
}
