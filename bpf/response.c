/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/*
 * sk_msg at the server's end of a judged connection: follows what the server answers, sends our
 * own answers behind those that were owed before them, and short-circuits.
 *
 * Never in the server's way: an answer that is not understood goes on as it is, and only what
 * depends on knowing whose it was (an answer of ours behind it, an upgrade) is not done any more.
 */

#define WHOLE_BYTES 16384

/* Puts our answer behind the first `at` bytes of the message. */
static inline int insert_answer(struct sk_msg_md *msg, struct http *http, u32 at, u32 entry)
{
    struct answer *answer = answer_of(entry);
    u32 total = msg->size, place = at, shift = 0;
    u64 size;
    u8 *data, *end, before;

    if (!answer)
        return -1;
    size = answer->size;
    if (size > ANSWER_BYTES || !at)
        return -1;
    if (at == total) { /* nothing can be pushed behind the last byte: push before it, and swap */
        place = at - 1;
        shift = 1;
    }
    if (bpf_msg_push_data(msg, place, size, 0) ||
        bpf_msg_pull_data(msg, place, place + size + shift, 0))
        return -1;
    if (shift) {
        data = (u8 *)(long)msg->data;
        end = (u8 *)(long)msg->data_end;
        if (!IS_BETWEEN_1_AND(ANSWER_BYTES, size) || data + size + 1 > end || data + 1 > end)
            return -1;
        before = data[size];
        data[0] = before;
    }
    return write_answer(msg, http, answer, shift, size) ? -1 : size;
}

/* An answer's head is complete: what follows. Returns whether the answer ends here. */
static inline int begin_answer(struct http *http, struct grammar *grammar, struct entry *entry)
{
    struct walker *w = &http->response;
    u32 status = w->status, kind = entry->kind;
    struct head head;

    if (walk_count(w, HEAD_COUNT_FIELDS) > LIMIT_HEAD_FIELDS || framing_of(w, &head) != ACCEPTED) {
        http->answer_lost = 1;
        return 0;
    }
    entry->content = 0;
    if (kind < ENTRY_BOUNCE && (status >= 200 || status == 101))
        entry->kind = ENTRY_BEGUN + status;
    if (kind == ENTRY_ANSWER_TO_HEAD || kind == ENTRY_ANSWER_TO_HEAD_UPGRADE ||
        kind == ENTRY_BOUNCE_TO_HEAD || status < 200 || status == 204 || status == 304) {
        if (status == 101) {
            if ((kind != ENTRY_ANSWER_TO_UPGRADE && kind != ENTRY_ANSWER_TO_HEAD_UPGRADE) ||
                !HAS(w, WEBSOCKET)) {
                http->answer_lost = 1;
                return 0;
            }
            http->upgraded = 1;
            http->answer_phase = PHASE_PASSING;
            return 1;
        }
        http->answer_phase = PHASE_BOUNDARY;
        http->doubtful |= status == 204 || status == 304; /* faulty servers send content all the same */
        return status >= 200;
    }
    if (head.framing == FRAMING_CHUNKED) {
        http->answer_phase = PHASE_CHUNKS;
        http->answer_budget = LIMIT_CHUNK_LINE_BYTES;
        walk_enter(w, grammar->entries[HEAD_ENTRY_CHUNK_SIZE]);
        return 0;
    }
    if (head.framing == FRAMING_NONE) {
        http->answer_phase = PHASE_PASSING; /* until the connection ends */
        return 0;
    }
    http->answer_skip = head.length;
    entry->content = head.length;
    http->answer_phase = head.length ? PHASE_LENGTH : PHASE_BOUNDARY;
    return !head.length;
}

static inline void answer_begins(struct http *http, struct grammar *grammar)
{
    walk_enter(&http->response, grammar->entries[HEAD_ENTRY_MESSAGE]);
    http->answer_phase = PHASE_HEAD;
    http->answer_budget = LIMIT_HEAD_BYTES;
}

/* Follows the answers from *at up to size; 1 where one ends, 0 at the end of the message. */
static inline int follow_answers(struct sk_msg_md *msg, struct http *http, struct grammar *grammar,
                                 u32 *at, u32 size)
{
    struct walker *w = &http->response;

    while (*at < size) {
        OR_GOTO(lost);
        u64 left = size - *at, ledger = ledger_now(http);

        if (http->answer_lost)
            break;
        if (http->answer_phase == PHASE_PASSING) {
            http->entries[ENTRY_NEXT(ledger)].content += left;
            break;
        }
        if (http->answer_skip) {
            u64 skipped = http->answer_skip < left ? http->answer_skip : left;

            http->answer_skip -= skipped;
            *at += skipped;
            if (!http->answer_skip && http->answer_phase == PHASE_LENGTH) {
                http->answer_phase = PHASE_BOUNDARY;
                return 1;
            }
            continue;
        }
        if (http->answer_phase == PHASE_BOUNDARY) {
            if (!owed(ledger))
                goto lost; /* nobody asked */
            answer_begins(http, grammar);
        }
        if (!http->answer_budget)
            goto lost;
        if (left > http->answer_budget)
            left = http->answer_budget;
        int end = walk(msg, FROM_MSG, grammar, 0, 0, w, *at, *at + left);

        if (end < 0)
            goto lost;
        http->answer_budget -= end - *at;
        *at = end;
        if (w->row >= grammar->first_running)
            continue;
        switch (w->row / (grammar->last + 1)) {
        case HEAD_RESPONSE_STOP_STATUS_LINE:
            w->status = w->number;
            w->number = 0;
            w->row = grammar->entries[HEAD_ENTRY_FIELDS];
            continue;
        case HEAD_RESPONSE_STOP_HEAD_END:
            if (http->answer_phase == PHASE_TRAILERS) {
                http->answer_phase = PHASE_BOUNDARY;
                return 1;
            }
            w->size = LIMIT_HEAD_BYTES - http->answer_budget;
            if (begin_answer(http, grammar, &http->entries[ENTRY_NEXT(ledger)]))
                return 1;
            continue;
        case HEAD_RESPONSE_STOP_CHUNK_LINE:
            if (walk_count(w, HEAD_COUNT_DIGITS) > 16 || w->number >> 63)
                goto lost;
            http->answer_skip = w->number;
            http->entries[ENTRY_NEXT(ledger)].content += w->number;
            http->answer_budget = 2 + LIMIT_CHUNK_LINE_BYTES;
            if (http->answer_skip) {
                walk_enter(w, grammar->entries[HEAD_ENTRY_CHUNK_END]);
            } else {
                http->answer_phase = PHASE_TRAILERS;
                http->answer_budget = LIMIT_TRAILER_BYTES;
                walk_enter(w, grammar->entries[HEAD_ENTRY_FIELDS]);
            }
            continue;
        default:
            goto lost;
        }
    }
    return 0;
lost:
    http->answer_lost = 1;
    return 0;
}

int on_response(struct sk_msg_md *msg)
{
    struct bpf_sock *sk = msg->sk;
    struct state *now = state_now();
    struct grammar *grammar = grammar_of(0);
    struct conn *conn;
    struct http *http;
    u32 size = msg->size, at, seq;

    if (!sk || !now)
        return SK_PASS;
    if (sk->state != TCP_ESTABLISHED_STATE && sk->state != TCP_CLOSE_WAIT_STATE) {
        count(COUNTER_SENT_AFTER_END);
        return SK_PASS;
    }
    conn = conns.sk_storage_get(sk, 0, 0);
    if (!conn)
        return SK_PASS;
    http = exchanges.lookup(&conn->exchange);
    if (!http)
        return SK_PASS;
    if (!grammar) {
        http->answer_lost = 1;
        return SK_PASS;
    }
    at = http->response.zero;
    seq = peek(conn->sock, OFF_WRITE_SEQ);
    if (seq != http->answer_seq)
        unseen(http, conn->exchange, seq - http->answer_seq);
    http->response.glance = 0;
    if (http->answer_phase == PHASE_BOUNDARY && owed(ledger_now(http)) &&
        !http->answer_lost) {
        answer_begins(http, grammar);
        recall(msg, FROM_MSG, IS_ANSWER, &grammar->id, &http->response, AGAIN(msg->size));
    }
    /* What goes around TCP has to be waited for by its task, which a bounce has not, see
     * delivery.h; where requests come by TCP, its order is enough. */
    http->answer_around = conn->peer_sock && conn->peer.client_port && !is_bouncing(http) &&
                          *(volatile u64 *)&http->mode != MODE_TCP &&
                          may_redirect(conn, now, size);
    while (at < size) {
        OR_GOTO(lost);
        if (!follow_answers(msg, http, grammar, &at, size))
            break;
        if (AGAIN(http->answer_around)) {
            http->answered_at = bpf_ktime_get_ns() / 1000;
            http->answerer = bpf_get_current_task();
        }
        u32 entry = settle(http);
        while (entry) {
            OR_GOTO(lost);
            int more = -1;

            if (AGAIN(http->answer_around) || peek(conn->sock, OFF_WMEM_QUEUED) + size + ANSWER_BYTES <
                              peek(conn->sock, OFF_SNDBUF))
                more = insert_answer(msg, http, at, entry);
            if (more < 0) {
                doom(http, conn->exchange, DOOMED_UNANSWERED);
                goto lost;
            }
            at += more;
            size += more;
            count(COUNTER_ANSWERED_IN_TURN);
            entry = settle(http);
        }
    }
    account(http, conn->exchange, 0);
    learn(msg, FROM_MSG, IS_ANSWER, &grammar->id, &http->response);
    if (AGAIN(http->answer_around)) {
        http->answer_seq = seq;
        /* A message in one piece is delivered whole or not at all. Of one that is not, the rest is
         * shown again if memory runs out; of a long one the copy would cost more than that. */
        if (size > WHOLE_BYTES)
            http->doubtful = 1;
        else if (bpf_msg_pull_data(msg, 0, size, 0))
            http->answer_around = 0;
        if (AGAIN(http->answer_around) &&
            clients.msg_redirect_hash(msg, &conn->peer, BPF_F_INGRESS) == SK_PASS) {
            count_n(COUNTER_REDIRECTED_BYTES, size);
            count(COUNTER_REDIRECTED_MESSAGES);
            return SK_PASS;
        }
        conn->on_tcp = 1;
        count(COUNTER_REDIRECT_FAILED);
    }
    http->answer_seq = seq + size;
    return SK_PASS;
lost:
    http->answer_lost = 1;
    http->answer_seq = seq + size;
    return SK_PASS;
}
