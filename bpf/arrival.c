/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/*
 * sk_skb/verdict at a judged server socket: every byte that comes by TCP, from near or far, in
 * order, one run at a time. This alone enforces; redirecting (request.c) goes around TCP, not
 * around the machine.
 *
 * Pieces of a head may go ahead, the one that completes it waits for the verdict. Bytes can be kept
 * from the server only by whole sk_buffs: a refused request that has one to itself leaves the
 * connection as it was, any other ends it.
 *
 * Fails closed: without state, tables or memory the bytes are dropped.
 */

/* The sk_buff becomes our answer and leaves through the server's own socket. */
static inline int bounce(struct __sk_buff *skb, struct http *http, u64 key, u32 entry, u32 size,
                         u32 why)
{
    struct in_place *form = form_of(http, entry, size);

    if (!form && entry & ANSWER_KEEP) {
        entry -= ANSWER_KEEP;
        form = form_of(http, entry, size);
    }
    if (!form || put_answer(skb, http, form, size)) {
        doom(http, key, DOOMED_UNTOLD);
        return SK_DROP;
    }
    /* The program at this socket will see it pass, as if the server had sent it. */
    if (why == DOOMED_REFUSED &&
        ledger_append_ours(http, entry & ANSWER_TO_HEAD ? ENTRY_BOUNCE_TO_HEAD : ENTRY_BOUNCE)) {
        doom(http, key, DOOMED_UNDECIDED);
        return SK_DROP;
    }
    if (!(entry & ANSWER_KEEP))
        doom(http, key, form->is_open ? DOOMED_UNTOLD : why);
    count(COUNTER_ANSWERED_BY_TCP);
    return servers.sk_redirect_hash(skb, &http->server_key, 0);
}

/* `start`: where the refused request begins in the sk_buff. An entry with ANSWER_KEEP is for one
 * that is all that the sk_buff holds. */
static inline int answer_refused(struct __sk_buff *skb, struct http *http, u64 key, u32 entry,
                                 u32 start, u32 size, int replaces)
{
    u32 waiting = owed(ledger_now(http));

    if (replaces) {
        /* Broken content of a request that the server has begun to read: our answer takes the
         * place of the server's, if that has not begun. */
        if (waiting != 1 || start || http->answer_phase != PHASE_BOUNDARY || is_sending(http)) {
            doom(http, key, DOOMED_BROKEN);
            return SK_DROP;
        }
        return bounce(skb, http, key, entry, size, DOOMED_BROKEN);
    }
    if (!waiting && !start && !is_sending(http) &&
        (!http->overlaps || delivery_of(http) == DELIVERY_OVER))
        return bounce(skb, http, key, entry, size, DOOMED_REFUSED);
    if (!waiting || http->answer_lost || ledger_append_ours(http, entry) ||
        (start && blank_out(skb, http, start, size))) {
        doom(http, key, DOOMED_UNANSWERED);
        return SK_DROP;
    }
    if (!(entry & ANSWER_KEEP))
        doom(http, key, DOOMED_REFUSED);
    return start ? SK_PASS : SK_DROP;
}

/* A request's entry, which is not known to anybody yet. */
static inline void note_next(struct http *http, u16 kind, u32 place)
{
    struct entry *entry = next_entry(http);

    entry->kind = kind;
    entry->content = FLAGS_OF(&http->request);
    entry->recorded = 0;
    entry->time = place;
}

/* Whether the connection can go on after a request that is refused: the sk_buff holds it, which
 * begins there and whose head ends at `at`, and nothing else. */
static inline u32 keep_of(struct http *http, struct head *head, u32 at, u32 size)
{
    u64 left = size - at;

    if (!head->keep_alive || head->upgrade || head->http10)
        return 0;
    if (http->phase == PHASE_LENGTH) {
        left -= http->skip;
        http->skip = 0;
        http->phase = PHASE_BOUNDARY;
    }
    return left || http->phase != PHASE_BOUNDARY ? 0 : ANSWER_KEEP;
}

int on_arrival(struct __sk_buff *skb)
{
    u32 size = skb->len, at, start, mask = 0, first, entry, how, known;
    u64 key = bpf_get_socket_cookie(skb);
    struct http *http = exchanges.lookup(&key);
    struct state *now = state_now();
    struct rules_large *rules;
    struct grammar *grammar;
    struct request_record *record;
    u64 mode;
    struct head *head;
    int replaces, event, action;

    if (!size)
        return SK_PASS; /* the end of the stream */
    if (!http || !now)
        return SK_DROP;
    known = http->arrived_seq - SEQUENCE_OF(skb);
    http->arrived_seq = SEQUENCE_OF(skb) + size;
    if (known) {
        if (known >= size || cut_front(skb, known, &http->request.scratch)) {
            doom(http, key, DOOMED_UNDECIDED);
            return SK_DROP;
        }
        size -= known;
    }
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
    if (owed(ledger_now(http)))
        catch_up(http, key);
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
    first = ledger_now(http) >> 32;
    http->reading.ahead = http->phase == PHASE_HEAD; /* the server has got some of it */
    replaces = http->phase != PHASE_BOUNDARY && http->phase != PHASE_HEAD &&
               http->phase != PHASE_HELD;
    http->request.glance = 0;
    if (http->phase == PHASE_BOUNDARY) {
        begin_request(http, grammar, rules);
        recall(skb, FROM_SKB, IS_REQUEST, &http->rules_id, &http->request, size);
    }
    for (;;) {
        OR_GOTO(undecided);
        start = FORGOTTEN(http->reading.start, start);
        replaces = FORGOTTEN(http->reading.refused, replaces);
        event = follow(skb, FROM_SKB, http, grammar, rules, mask, &at, size);
        if (event == EVENT_END) {
            start = at;
            replaces = 0;
        } else if (event == EVENT_HEAD && AGAIN(head->reason) == ACCEPTED) {
            if (AGAIN(head->upgrade) && AGAIN(http->doubtful))
                goto undecided;
            if (is_bouncing(http)) { /* the server could answer before our answer has left */
                doom(http, key, DOOMED_UNANSWERED);
                return SK_DROP;
            }
            note_next(http, entry_of(head), PLACE(start, rule_of(head)));
            if (http->answer_lost ? ledger_pass(http) : ledger_append(http, entry_of(head)))
                goto undecided;
            http->doubtful |= head->is_head;
            replaces = 1;
            if (http->phase == PHASE_BOUNDARY || http->phase == PHASE_HELD) {
                start = at;
                replaces = 0;
            }
        } else {
            break;
        }
    }
    event = FORGOTTEN(http->reading.made, event);
    if (event == EVENT_FAULT)
        goto undecided;
    http->reading.time = bpf_ktime_get_ns();
    http->reading.number = first;
    http->reading.upto = ledger_now(http) >> 32;
    if (decide_all(skb, FROM_SKB, http, key, now, size))
        goto undecided;
    if (event == EVENT_MORE) {
        learn(skb, FROM_SKB, IS_REQUEST, &http->rules_id, &http->request);
        if (http->phase == PHASE_HEAD)
            keep_beginning(skb, http, key, start, size);
        return SK_PASS;
    }
    how = head->is_head && event == EVENT_HEAD ? ANSWER_TO_HEAD : 0;
    if (event == EVENT_HEAD && !start && !AGAIN(http->reading.ahead))
        how |= keep_of(http, head, at, size);
    entry = FORGOTTEN(http->reading.entry, refusal(AGAIN(head->reason), how));
    record = 0;
    if (!replaces) { /* else it has been counted, as one that was let through */
        note_next(http, entry, PLACE(start, event == EVENT_HEAD ? rule_of(head) : NO_RULE));
        record = decided(skb, FROM_SKB, http, key, now, size);
    }
    action = answer_refused(skb, http, key, entry, start, size, replaces);
    if (record) {
        record->told = action == SK_PASS || !http->dead || http->doom == DOOMED_REFUSED;
        bpf_ringbuf_submit(record, BPF_RB_NO_WAKEUP);
    }
    return action;
undecided:
    doom(http, key, DOOMED_UNDECIDED);
    return SK_DROP;
}
