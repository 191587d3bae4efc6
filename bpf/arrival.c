/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/*
 * sk_skb/verdict at a judged server socket: every byte that comes by TCP, from near or far, in
 * order, one run at a time. This alone enforces; redirecting (request.c) goes around TCP, not
 * around the machine.
 *
 * Pieces of a head may go ahead, the one that completes it waits for the verdict. What is refused
 * ends the connection: bytes can be kept from the server only by whole sk_buffs, and the kernel's
 * count of what was read (copied_seq) must come out even for the next request to be noticed.
 *
 * Fails closed: without state, tables or memory the bytes are dropped.
 */

/* The sk_buff becomes our answer and leaves through the server's own socket. */
static inline int bounce(struct __sk_buff *skb, struct http *http, u32 entry)
{
    struct answer *answer = answer_of(entry);
    u64 size;

    if (!answer)
        return SK_DROP;
    size = answer->size;
    if (!IS_BETWEEN_1_AND(ANSWER_BYTES, size))
        return SK_DROP;
    if (bpf_skb_change_tail(skb, size, 0) || bpf_skb_store_bytes(skb, 0, answer->bytes, size, 0))
        return SK_DROP;
    count(COUNTER_ANSWERED_BY_TCP);
    return servers.sk_redirect_hash(skb, &http->server_key, 0);
}

/* `start`: where the refused request begins in the sk_buff. */
static inline int refuse(struct __sk_buff *skb, struct http *http, u64 key, u32 entry, u32 start,
                         int replaces)
{
    u64 ledger = ledger_now(http);
    u32 waiting = owed(ledger);

    count_entry(entry);
    if (replaces) {
        /* Broken content of a request that the server has begun to read: our answer takes the
         * place of the server's, if that has not begun. */
        doom(http, key, DOOMED_BROKEN);
        if (waiting != 1 || start || http->answer_phase != PHASE_BOUNDARY)
            return SK_DROP;
        return bounce(skb, http, entry);
    }
    if (!waiting && !start) {
        doom(http, key, DOOMED_REFUSED);
        return bounce(skb, http, entry);
    }
    /* An sk_buff cannot be cut to more than some 16 KB (SKB_MAX_ALLOC, net/core/filter.c). */
    if (!waiting || bpf_skb_change_tail(skb, start, 0) || ledger_append(http, entry)) {
        doom(http, key, DOOMED_UNANSWERED);
        return SK_DROP;
    }
    doom(http, key, DOOMED_REFUSED);
    return start ? SK_PASS : SK_DROP;
}

int on_arrival(struct __sk_buff *skb)
{
    u32 size = skb->len, at, start, mask = 0;
    u64 key = bpf_get_socket_cookie(skb);
    struct http *http = exchanges.lookup(&key);
    struct rules_large *rules;
    struct grammar *grammar;
    u64 mode;
    struct head *head;
    int replaces;

    if (!size)
        return SK_PASS; /* the end of the stream */
    if (!http)
        return SK_DROP;
    mode = __sync_val_compare_and_swap(&http->mode, MODE_UNDECIDED, MODE_TCP);
    if (mode == MODE_UNDECIDED)
        count(COUNTER_WAY_TCP);
    if (mode == MODE_REDIRECT) {
        /* Bytes that went around the client's program. */
        count(COUNTER_BYPASS_STOPPED);
        doom(http, key, DOOMED_BYPASS);
        return SK_DROP;
    }
    if (http->dead)
        return SK_DROP;
    settle_upgrade(http);
    rules = refresh(http, &mask);
    if (!rules) {
        if ((http->road & ROAD_MASK) == ROAD_SPLICE) {
            http->phase = PHASE_PASSING;
            return SK_PASS;
        }
        doom(http, key, DOOMED_NO_RULES);
        return SK_DROP;
    }
    if (http->phase == PHASE_PASSING)
        return SK_PASS;
    grammar = grammar_of(rules->grammar);
    if (!grammar)
        return SK_DROP;
    head = &http->head;
    at = start = http->request.zero;
    replaces = http->phase != PHASE_BOUNDARY && http->phase != PHASE_HEAD &&
               http->phase != PHASE_HELD;
    for (;;) {
        OR_GOTO(undecided);
        start = FORGOTTEN(http->reading.start, start);
        replaces = FORGOTTEN(http->reading.refused, replaces);
        switch (follow(skb, FROM_SKB, http, grammar, rules, mask, &at, size)) {
        case EVENT_MORE:
            return SK_PASS;
        case EVENT_END:
            start = at;
            replaces = 0;
            continue;
        case EVENT_HEAD:
            if (AGAIN(head->reason) != ACCEPTED)
                return refuse(skb, http, key,
                              refusal(AGAIN(head->reason), head->is_head ? ANSWER_TO_HEAD : 0),
                              start, 0);
            if (AGAIN(head->upgrade) && AGAIN(http->doubtful))
                goto undecided;
            if (ledger_append(http, entry_of(head)))
                goto undecided;
            count_decisions(REASON_RULE_ALLOWED, 1);
            http->doubtful |= head->is_head;
            replaces = 1;
            if (http->phase == PHASE_BOUNDARY || http->phase == PHASE_HELD) {
                start = at;
                replaces = 0;
            }
            continue;
        case EVENT_STOP:
            return refuse(skb, http, key, refusal(AGAIN(head->reason), 0), start, replaces);
        default:
            goto undecided;
        }
    }
undecided:
    doom(http, key, DOOMED_UNDECIDED);
    return SK_DROP;
}
