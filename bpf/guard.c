/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/*
 * cgroup/sock_create and cgroup/setsockopt: what covered sockets may not be.
 *
 * MPTCP sockets cannot be short-circuited or judged; applications fall back to TCP when one is
 * refused. A TLS upper-layer protocol, zero-copy sending and TCP Fast Open each carry bytes past
 * the programs that would see them; applications treat their refusal as "not supported".
 */

#define MPTCP 262
#define SOL_SOCKET_LEVEL 1
#define SO_ZEROCOPY_OPTION 60
#define SOL_TCP_LEVEL 6
#define TCP_FASTOPEN_OPTION 23
#define TCP_FASTOPEN_CONNECT_OPTION 30
#define TCP_ULP_OPTION 31

int on_sock_create(struct bpf_sock *sk)
{
    if (sk->protocol != MPTCP)
        return 1;
    count(COUNTER_MPTCP_REFUSED);
    return 0;
}

int on_setsockopt(struct bpf_sockopt *ctx)
{
    int refused = 0;

    if (ctx->level == SOL_SOCKET_LEVEL)
        refused = ctx->optname == SO_ZEROCOPY_OPTION;
    else if (ctx->level == SOL_TCP_LEVEL)
        refused = ctx->optname == TCP_ULP_OPTION || ctx->optname == TCP_FASTOPEN_OPTION ||
                  ctx->optname == TCP_FASTOPEN_CONNECT_OPTION;
    if (refused) {
        count(COUNTER_SOCKOPT_REFUSED);
        return 0;
    }
    /* -1: let the kernel read the option itself; values above a page are not copied to us. */
    if (ctx->optval_end - ctx->optval < ctx->optlen)
        ctx->optlen = 0;
    return 1;
}
