/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/*
 * For sock_ops: which workload listens where. Entries of sockets that were there before the program
 * are the agent's, see l7proxy/datapath/listening.py.
 */

static inline void listening(struct bpf_sock_ops *ctx, struct bpf_sock *sk)
{
    struct state *now = state_now();
    struct endpoint key = {.netns = bpf_get_netns_cookie(ctx), .port = ctx->local_port};
    struct listener fresh = {.sockets = 1};
    struct conn empty = {};
    struct namespace *here;
    struct listener *found;
    struct conn *conn;
    u32 remote[4], one = 1, *held;

    if (!now)
        return;
    here = namespace_of(key.netns);
    if (!here)
        return; /* nobody is steered there */
    fresh.identity = identity_of_task(now, key.netns, here);
    addresses_of(ctx, key.address, remote);
    conn = conns.sk_storage_get(sk, &empty, BPF_SK_STORAGE_GET_F_CREATE);
    if (!conn)
        return;
    held = listening_now.lookup(&fresh.identity);
    if (held && *held >= LISTENERS_EACH) {
        count(COUNTER_LISTENER_UNRECORDED); /* it can expose itself only */
        return;
    }
    found = listeners.lookup(&key);
    if (found) {
        if (!found->sockets)
            return; /* the agent has found one there that is not covered */
        lock_xadd(&found->sockets, 1);
        if (found->identity != fresh.identity)
            found->identity = IDENTITY_CONTESTED; /* whose the next connection is, nobody knows */
    } else if (listeners.update(&key, &fresh)) {
        count(COUNTER_LISTENER_UNRECORDED);
        return;
    }
    conn->listening = 1;
    conn->client = fresh.identity;
    if (held)
        lock_xadd(held, 1);
    else
        listening_now.update(&fresh.identity, &one);
    bpf_sock_ops_cb_flags_set(ctx, ctx->bpf_sock_ops_cb_flags | BPF_SOCK_OPS_STATE_CB_FLAG);
}

static inline void listens_no_more(struct bpf_sock_ops *ctx, struct conn *conn, u64 cookie)
{
    struct endpoint key = {.netns = cookie, .port = ctx->local_port};
    struct listener *found;
    u32 remote[4], owner, *held;

    if (!conn || !conn->listening)
        return;
    addresses_of(ctx, key.address, remote);
    owner = conn->client;
    held = listening_now.lookup(&owner);
    if (held && *held)
        lock_xadd(held, -1);
    found = listeners.lookup(&key);
    if (!found)
        return;
    if (found->sockets > 1)
        lock_xadd(&found->sockets, -1);
    else
        listeners.delete(&key);
}
