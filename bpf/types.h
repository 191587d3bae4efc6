/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/*
 * Types shared by every program. User space reflects these layouts from the compiled module;
 * they are written down here and nowhere else.
 *
 * Addresses are IPv6 in network byte order, IPv4 in its mapped form (::ffff:a.b.c.d).
 * Ports are in host byte order.
 *
 * Constants that come from user space when the module is built: COUNTER_*, ROAD_*, REASON-less
 * identities IDENTITY_*, sizes MAX_*, kernel offsets OFF_*, and RX_VERDICT.
 */
#include <linux/types.h>
#include <uapi/linux/in.h>

#define AF_INET 2
#define AF_INET6 10
#define TCP_ESTABLISHED_STATE 1
#define TCP_CLOSE_STATE 7
#define TCP_CLOSE_WAIT_STATE 8
#define TCP_LISTEN_STATE 10

#define FLAG_LOCAL 1       /* the address belongs to a workload or namespace of this node */
#define FLAG_NO_SPLICE 2   /* the workload asked that its sockets be left alone */

/* A TCP connection as its client names it. netns is 0 where the addresses tell namespaces apart. */
struct flow {
    u32 client[4];
    u32 server[4];
    u64 netns;
    u16 client_port;
    u16 server_port;
    u32 pad;
};

struct endpoint {
    u32 address[4];
    u64 netns;
    u16 port;
    u16 pad[3];
};

struct prefix {
    u32 prefixlen;
    u32 epoch;
    u32 address[4];
};

struct port_prefix {
    u32 prefixlen;
    u32 epoch;
    u16 port; /* network byte order, so that prefixes of it are ranges */
    u16 pad;
};

struct identity {
    u32 id;
    u16 slot; /* of the namespace that owns the address, beyond all slots if not covered */
    u16 flags;
};

struct namespace {
    u64 cookie;
    u32 identity; /* of the one workload that lives there; 0 if several share it */
    u16 proxy_port;
    u16 flags;
};

struct pair_of_identities {
    u32 epoch;
    u32 client;
    u32 server;
    u32 port_class;
};

struct state {
    u32 epoch;         /* 0: no policy has been applied yet, every covered workload refuses */
    u32 workers;
    u32 credit;        /* bytes queued to a reader beyond which redirecting stops */
    u32 cgroups;       /* how many workloads are known by cgroup */
    u64 host_netns;
    u64 record_interval; /* nanoseconds between two served requests that one CPU records */
};

struct listener {
    u32 identity;
    u32 sockets;
};

/* Who made the proxy's upstream connection: worker process and socket, neither of which can be
 * had twice at a time. */
struct upstream {
    u64 socket;
    u32 pid;
    u32 pad;
};

/*
 * One end of a connection in the socket hash. The sequence numbers of the handshake make the name
 * unique: two connections of different namespaces with the same addresses and ports never pair,
 * and one whose addresses were translated on the way still does.
 */
struct half {
    u32 client[4];
    u32 client_seq;
    u32 server_seq;
    u16 client_port;
    u16 is_server;
    u32 pad;
};

struct half_sockets {
    u64 client;
    u64 server;
    u64 exchange; /* the server's cookie if its requests are judged here */
};

/* What a socket carries along (socket storage). */
struct conn {
    struct half peer;     /* the other end's name; client_port 0: not short-circuited */
    u64 sock;             /* kernel addresses of this end and the other, as numbers: they are */
    u64 peer_sock;        /* only ever read through probe_read */
    u32 client;           /* identity of the workload that connects, 0 until connect() */
    u32 on_tcp;           /* bytes go by TCP until both directions are drained */
    u32 tcp_seq;          /* write_seq when the connection left TCP: it moves only with TCP bytes */
    u64 exchange;         /* key of the connection's struct http, 0: nobody judges its requests */
    u8 listening;
    u8 judged;            /* the kernel decides the connection's requests */
    u8 local;             /* both ends are on this node, as far as addresses tell */
    u16 origin_port;      /* original destination of a steered connection, port 0: not steered */
    u32 origin[4];
};
