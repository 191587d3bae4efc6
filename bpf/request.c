/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/*
 * sk_msg at the client's end of a judged connection: the short-circuit for requests.
 *
 * Not the place that enforces: what this program does not see, or leaves to TCP, the server's end
 * judges (arrival.c). It redirects messages of whole, allowed requests, and answers refused ones
 * itself, so that nothing of them leaves the client. Whatever else comes goes by TCP, and so does
 * all that follows until both directions are drained.
 *
 * The kernel lets go of the client's socket between this program and the delivery, so a second
 * task could overtake a first: while an answer is owed, only the task that sent last may send.
 */

/* After the end send() succeeds for so many bytes more, so that whoever sends first and reads then
 * gets to read the answer; then it fails, or a fast writer would go on until the reset. */
#define THROWN_AWAY_MOST (16 << 20)
#define SWALLOWED SK_PASS /* a message with nothing left in it: its sender is told success */

/* If http->again, the program has been run on the beginning of this message already, which was redirected.
 * The kernel remembers the target and would redirect what is passed now; so it is dropped, and
 * send() fails from then on. */
static inline int swallow_all(struct sk_msg_md *msg, struct http *http)
{
    u32 size = msg->size;

    if (AGAIN(http->again))
        return SK_DROP;
    if (size && bpf_msg_pop_data(msg, 0, size, 0))
        return SK_DROP; /* send() fails from now on */
    return SWALLOWED;
}

/* The first `size` bytes of the message become our answer, which the client gets as received. */
static inline int answer_here(struct sk_msg_md *msg, struct http *http, struct conn *conn,
                              u32 size, u32 entry)
{
    struct answer *answer = answer_of(entry);
    struct half own = conn->peer;
    u32 wanted, rest = msg->size - size;

    if (!answer)
        return SK_DROP;
    wanted = answer->size;
    if (wanted > ANSWER_BYTES)
        return SK_DROP;
    if (size > wanted) {
        if (bpf_msg_pop_data(msg, 0, size - wanted, 0))
            return SK_DROP;
    } else if (size < wanted) {
        if (bpf_msg_push_data(msg, 0, wanted - size, 0))
            return SK_DROP;
    }
    if (bpf_msg_pull_data(msg, 0, wanted, 0) || write_answer(msg, http, answer, 0, wanted))
        return SK_DROP;
    if (rest) {
        bpf_msg_apply_bytes(msg, wanted);
        http->rest = rest;
    }
    own.is_server = 0;
    count(COUNTER_ANSWERED_BY_REDIRECT);
    return clients.msg_redirect_hash(msg, &own, BPF_F_INGRESS);
}

/* Whether this message may be judged here; if not, the server's end does it. */
static inline int take_over(struct http *http, struct conn *conn, struct state *now)
{
    u64 mode = *(volatile u64 *)&http->mode;
    u32 queued = peek(conn->peer_sock, OFF_RMEM_ALLOC);
    u32 seq = peek(conn->sock, OFF_WRITE_SEQ);

    if (peek(conn->peer_sock, OFF_RCVLOWAT) > 1)
        return 0;
    if (mode == MODE_TCP) {
        if (http->dead || http->phase != PHASE_BOUNDARY || queued || !drained(conn->sock, conn->peer_sock) ||
            __sync_val_compare_and_swap(&http->mode, MODE_TCP, MODE_REDIRECT) != MODE_TCP)
            return 0;
        conn->tcp_seq = seq;
        count(COUNTER_BACK_TO_REDIRECT);
        return 1;
    }
    if (seq != conn->tcp_seq || queued > now->credit)
        return 0;
    if (mode == MODE_REDIRECT)
        return 1;
    if (__sync_val_compare_and_swap(&http->mode, MODE_UNDECIDED, MODE_REDIRECT) != MODE_UNDECIDED)
        return 0;
    count(COUNTER_WAY_REDIRECT);
    return 1;
}

/* Whether an answer of ours would come behind all that count as given: 1; not if it goes around
 * TCP: 0; or it is not known: -1. */
static inline int is_our_turn(struct http *http, struct conn *conn)
{
    u32 arrived = peek(conn->sock, OFF_RCV_NXT);

    if (arrived != peek(conn->peer_sock, OFF_WRITE_SEQ) ||
        arrived != peek(conn->sock, OFF_COPIED_SEQ) || is_sending(http) || peek_backlog(conn->sock))
        return 0;
    return may_overlap(http, conn->sock) ? -1 : 1;
}

/* The other end's socket and the connection's state, once the server's end is there. */
static inline struct http *judged_by(struct conn *conn)
{
    if (!conn->peer_sock) {
        struct half own = conn->peer;
        struct half_sockets *both;

        own.is_server = 0;
        both = halves.lookup(&own);
        if (!both || !both->server)
            return 0;
        conn->peer_sock = both->server;
        conn->exchange = both->exchange;
        halves.delete(&own);
    }
    return exchanges.lookup(&conn->exchange);
}

/* What is left of a refused request's content. 0: the message has nothing else. */
static inline int swallow(struct sk_msg_md *msg, struct http *http)
{
    u64 size = msg->size, gone = http->skip < size ? http->skip : size;

    http->skip -= gone;
    if (!http->skip) {
        http->swallow = 0;
        http->phase = PHASE_BOUNDARY;
    }
    if (bpf_msg_pull_data(msg, 0, size, 0) || bpf_msg_pop_data(msg, 0, gone, 0))
        return -1;
    return size - gone;
}

static inline void back_to_boundary(struct http *http)
{
    http->phase = PHASE_BOUNDARY;
    http->skip = 0;
    http->swallow = 0;
}

int on_request(struct sk_msg_md *msg)
{
    struct bpf_sock *sk = msg->sk;
    struct state *now = state_now();
    u64 me = bpf_get_current_pid_tgid(), ledger;
    struct rules_large *rules;
    struct grammar *grammar;
    struct conn *conn;
    struct reading *found;
    struct http *http;
    int ours;
    u32 size = msg->size, mask = 0, why = DOOMED_UNDECIDED;

    if (!sk || !now)
        return SK_PASS;
    if (sk->state != TCP_ESTABLISHED_STATE && sk->state != TCP_CLOSE_WAIT_STATE)
        return SK_PASS;
    conn = conns.sk_storage_get(sk, 0, 0);
    if (!conn || !conn->peer.client_port)
        return SK_PASS;
    http = judged_by(conn);
    if (!http)
        return SK_PASS; /* the server's end is not there yet, and will judge */
    http->again = size && http->rest == size;
    http->rest = 0;
    bpf_msg_apply_bytes(msg, 0); /* what the run before this one asked for is still there */
    if (*(volatile u64 *)&http->mode == MODE_REDIRECT) {
        if (http->dead)
            goto end;
        if (http->sender != me && owed(ledger_now(http))) {
            why = DOOMED_SENDERS;
            goto end;
        }
        if (http->swallow) {
            int left = swallow(msg, http);

            if (left < 0)
                goto end;
            if (!left)
                return swallow_all(msg, http);
            size = left;
        }
    }
    if (!take_over(http, conn, now) || bpf_msg_pull_data(msg, 0, size, 0))
        goto to_tcp;
    rules = refresh(http, &mask);
    if (!rules)
        goto to_tcp;
    grammar = grammar_of(rules->grammar);
    if (!grammar)
        goto end;
    found = &http->reading;
    __builtin_memset(found, 0, sizeof(*found));
    found->full = peek(conn->sock, OFF_RMEM_ALLOC) > now->credit;
    ledger = ledger_now(http);
    http->request.glance = 0;
    size = FORGOTTEN(http->request.scratch, size);
    if (http->phase == PHASE_BOUNDARY && size) {
        begin_request(http, grammar, rules);
        recall(msg, FROM_MSG, IS_REQUEST, &http->rules_id, &http->request, size);
    }
    size = FORGOTTEN(http->request.scratch, size);
    if (read_message(msg, http, grammar, rules, mask, ledger, size))
        goto end;
    if (found->drops && owed(ledger) && is_sending(http))
        found->tail = 1; /* what is sent unseen is counted where TCP arrives */
    if (AGAIN(found->tail)) {
        back_to_boundary(http);
        goto to_tcp;
    }
    for (;;) {
        OR_GOTO(end);
        ours = found->first_refused && !owed(ledger);
        if (ours) {
            int turn = is_our_turn(http, conn);

            if (turn < 0) {
                why = DOOMED_UNANSWERED;
                goto end;
            }
            if (!turn || AGAIN(found->full)) {
                back_to_boundary(http); /* TCP makes a client wait that reads no answers */
                goto to_tcp;
            }
            if (!ledger_swap(http, ledger, ledger_settled(ledger + (1ull << 32))))
                goto end; /* nobody else changes it while nothing is owed */
            break;
        }
        if (found->drops && AGAIN(http->answer_lost)) {
            why = DOOMED_UNANSWERED; /* whose turn it is, is not known */
            goto end;
        }
        if (ledger_swap(http, ledger, ledger + ((u64)found->made << 32)))
            break;
        ledger = ledger_now(http);
    }
    ours = FORGOTTEN(found->ours, ours);
    found->number = ledger >> 32;
    found->upto = found->number + (ours ? 1 : found->made);
    found->time = bpf_ktime_get_ns();
    if (decide_all(msg, FROM_MSG, http, conn->exchange, now, size))
        goto end;
    learn(msg, FROM_MSG, IS_REQUEST, &http->rules_id, &http->request);
    if (AGAIN(found->ours)) {
        u32 entry = http->entries[(found->upto - 1) & (ENTRIES - 1)].kind;
        u32 end = found->drop_size[0];

        if (end < size)
            back_to_boundary(http); /* the rest is read again by itself */
        else if (found->closing)
            doom(http, conn->exchange, DOOMED_REFUSED);
        return answer_here(msg, http, conn, end, entry);
    }
    http->sender = me;
    http->doubtful |= found->has_head; /* its answer has no content, if it is its answer */
    count_n(COUNTER_REQUESTS_REDIRECTED, found->made - found->drops);
    if (found->drops) {
        for (u32 i = DROPS; i > 0; i--) {
            u32 drop = i - 1;

            if (drop >= found->drops)
                continue;
            if (bpf_msg_pop_data(msg, found->drop_at[drop], found->drop_size[drop], 0))
                goto end;
        }
        if (found->closing)
            doom(http, conn->exchange, DOOMED_REFUSED);
        size = msg->size;
        if (!size)
            return swallow_all(msg, http);
        if (bpf_msg_pull_data(msg, 0, size, 0))
            goto end;
    }
    if (servers.msg_redirect_hash(msg, &conn->peer, BPF_F_INGRESS) != SK_PASS)
        count(COUNTER_REDIRECT_FAILED); /* the server's socket is gone: TCP knows what to answer */
    else
        count_n(COUNTER_REDIRECTED_BYTES, size);
    return SK_PASS;
to_tcp:
    if (!AGAIN(http->again)) {
        if (*(volatile u64 *)&http->mode == MODE_REDIRECT) {
            http->overlaps = owed(ledger_now(http)) || may_overlap(http, conn->sock);
            *(volatile u64 *)&http->mode = MODE_TCP;
        }
        if (__sync_val_compare_and_swap(&http->mode, MODE_UNDECIDED, MODE_TCP) == MODE_UNDECIDED)
            count(COUNTER_WAY_TCP);
        count(COUNTER_REQUESTS_TO_TCP);
        return SK_PASS;
    }
end:
    doom(http, conn->exchange, why);
    if (http->thrown_away > THROWN_AWAY_MOST)
        return SK_DROP;
    http->thrown_away += msg->size;
    return swallow_all(msg, http);
}
