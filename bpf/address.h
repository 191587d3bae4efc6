/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/* Addresses: mapping IPv4 into IPv6, and which ones mean something only inside a namespace. */

#define V4_MAPPED bpf_htonl(0xffff)
#define V4_LOOPBACK bpf_htonl(0x7f000001)

/* Both families' fields are read before either is chosen, and volatile: a compiler that merged the
 * branches would compute the offset into the context, which the verifier refuses. */
#define CTX(field) (*(volatile u32 *)&ctx->field)

#define READ_ADDRESS(ctx, side, address)                                                           \
    do {                                                                                           \
        u32 side##_ip4 = CTX(side##_ip4);                                                          \
        u32 word0 = CTX(side##_ip6[0]), word1 = CTX(side##_ip6[1]);                                \
        u32 word2 = CTX(side##_ip6[2]), word3 = CTX(side##_ip6[3]);                                \
                                                                                                   \
        if (ctx->family == AF_INET) {                                                              \
            from_ip4(address, side##_ip4);                                                         \
        } else {                                                                                   \
            (address)[0] = word0;                                                                  \
            (address)[1] = word1;                                                                  \
            (address)[2] = word2;                                                                  \
            (address)[3] = word3;                                                                  \
        }                                                                                          \
    } while (0)

static inline void from_ip4(u32 *address, u32 ip4)
{
    address[0] = 0;
    address[1] = 0;
    address[2] = V4_MAPPED;
    address[3] = ip4;
}

static inline int is_ip4(const u32 *address)
{
    return address[0] == 0 && address[1] == 0 && address[2] == V4_MAPPED;
}

static inline int is_loopback(const u32 *address)
{
    if (is_ip4(address))
        return (bpf_ntohl(address[3]) >> 24) == 127;
    return address[0] == 0 && address[1] == 0 && address[2] == 0 &&
           address[3] == bpf_htonl(1);
}

static inline int is_any(const u32 *address)
{
    return address[0] == 0 && address[1] == 0 && address[3] == 0 &&
           (address[2] == 0 || address[2] == V4_MAPPED);
}

static inline int same_address(const u32 *a, const u32 *b)
{
    return a[0] == b[0] && a[1] == b[1] && a[2] == b[2] && a[3] == b[3];
}

/* Both ends are in one namespace: loopback, or an address talking to itself. Other addresses
 * are taken to be unique on the node's network, and the flow's name leaves the namespace out. */
static inline int stays_inside(const u32 *client, const u32 *server)
{
    return is_loopback(server) || is_loopback(client) || same_address(client, server);
}

/* A socket's own address and its peer's. */
static inline void addresses_of(struct bpf_sock_ops *ctx, u32 *local, u32 *remote)
{
    READ_ADDRESS(ctx, local, local);
    READ_ADDRESS(ctx, remote, remote);
}
