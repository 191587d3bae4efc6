/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/* cgroup/getpeername4 and 6: a steered client sees the destination it asked for. */

int on_getpeername4(struct bpf_sock_addr *ctx)
{
    struct bpf_sock *sk = ctx->sk;
    struct conn *conn;

    if (!sk)
        return 1;
    conn = conns.sk_storage_get(sk, 0, 0);
    if (conn && conn->origin_port) {
        ctx->user_ip4 = conn->origin[3];
        ctx->user_port = bpf_htons(conn->origin_port);
    }
    return 1;
}

int on_getpeername6(struct bpf_sock_addr *ctx)
{
    struct bpf_sock *sk = ctx->sk;
    struct conn *conn;

    if (!sk)
        return 1;
    conn = conns.sk_storage_get(sk, 0, 0);
    if (conn && conn->origin_port) {
        ctx->user_ip6[0] = conn->origin[0];
        ctx->user_ip6[1] = conn->origin[1];
        ctx->user_ip6[2] = conn->origin[2];
        ctx->user_ip6[3] = conn->origin[3];
        ctx->user_port = bpf_htons(conn->origin_port);
    }
    return 1;
}
