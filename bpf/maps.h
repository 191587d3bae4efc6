/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/* Every map, with who writes it. Names have at most 15 characters: the kernel cuts longer ones. */

/* User space writes; the programs read. All entries of a policy set carry its epoch: the set
 * comes into force as a whole when state.epoch names it. */
BPF_ARRAY(state, struct state, 1);
BPF_F_TABLE("lpm_trie", struct prefix, struct identity, identities, MAX_IDENTITIES,
            BPF_F_NO_PREALLOC);
BPF_F_TABLE("lpm_trie", struct port_prefix, u32, port_classes, MAX_PORT_CLASSES,
            BPF_F_NO_PREALLOC);
BPF_F_TABLE("hash", struct pair_of_identities, u32, roads, MAX_ROADS, BPF_F_NO_PREALLOC);
BPF_HASH(cgroups, u64, struct identity, MAX_WORKLOADS);
BPF_HASH(netns, u64, u32, MAX_NAMESPACES);                     /* cookie -> slot */
BPF_ARRAY(namespaces, struct namespace, MAX_NAMESPACES);       /* by slot */
BPF_TABLE("sockmap", u32, u64, proxy_listeners, MAX_NAMESPACES * MAX_WORKERS * 2);

/* The proxy's own upstream connections: entered before connect, removed before close. */
BPF_F_TABLE("hash", struct flow, struct upstream, upstreams, MAX_CONNECTIONS, BPF_F_NO_PREALLOC);

/* The programs write. */
BPF_F_TABLE("hash", struct endpoint, struct listener, listeners, MAX_LISTENERS,
            BPF_F_NO_PREALLOC);
BPF_F_TABLE("hash", u32, u32, listening_now, MAX_WORKLOADS, BPF_F_NO_PREALLOC);
BPF_TABLE("lru_hash", struct flow, u32, flows, MAX_CONNECTIONS); /* client's identity */
BPF_TABLE("lru_hash", struct flow, struct endpoint, origins, MAX_CONNECTIONS);
BPF_TABLE("lru_hash", struct half, struct half_sockets, halves, MAX_CONNECTIONS);
BPF_SK_STORAGE(conns, struct conn);
/* By socket cookie: the sequence number of the next byte of those that come by TCP. No program
 * that sees them has socket storage. */
BPF_F_TABLE("hash", u64, u32, arrivals, 2 * MAX_CONNECTIONS, BPF_F_NO_PREALLOC);
/* Written by user space: sockets that the proxy listens with, and all that are accepted from them
 * (BPF_SK_STORAGE with BPF_F_CLONE). */
struct proxied_table_t {
    int key;
    u32 leaf;
    void *(*sk_storage_get)(void *, void *, int);
    int (*sk_storage_delete)(void *);
    u32 flags;
};
__attribute__((section("maps/sk_storage"))) struct proxied_table_t proxied = {
    .flags = BPF_F_NO_PREALLOC | BPF_F_CLONE};
BPF_ANNOTATE_KV_PAIR(proxied, int, u32);
BPF_SOCKHASH(sockets, struct half, MAX_CONNECTIONS);
BPF_TABLE("percpu_array", u32, u64, counters, COUNTER_MAX);

/* The kernel road. User space writes the tables, each set of rules and each grammar in a map of its
 * own. The loader makes the maps of these maps, because BCC takes minutes over values of that size:
 * FD_GRAMMARS and the like are their descriptors while it compiles. */
#define INNER_MAP(fd, number) ((void *)bpf_map_lookup_elem_(bpf_pseudo_fd(1, fd), number))
_Static_assert(sizeof(struct grammar) == GRAMMAR_BYTES, "l7proxy/compiler/head_map.py");
_Static_assert(sizeof(struct rules_small) == SMALL_RULES_BYTES, "l7proxy/compiler/rules_map.py");
_Static_assert(sizeof(struct rules_large) == LARGE_RULES_BYTES, "l7proxy/compiler/rules_map.py");
BPF_ARRAY(answers, struct answer, REASON_MAX * 8);
BPF_ARRAY(in_place, struct in_place, REASON_MAX * 4 * IN_PLACE_FORMS);
BPF_ARRAY(blank, struct http, 1); /* what a connection begins with */
BPF_F_TABLE("hash", u64, struct http, exchanges, MAX_CONNECTIONS, BPF_F_NO_PREALLOC);
BPF_QUEUE(doomed, struct doomed, 16384); /* for the agent to reset */
BPF_SOCKHASH(clients, struct half, MAX_CONNECTIONS); /* ends of judged connections */
/* With room for those whose handshake was let begin before judged_now had counted up. */
BPF_SOCKHASH(servers, struct half, 2 * MAX_CONNECTIONS);
BPF_ARRAY(judged_now, u64, 1); /* how many entries exchanges has */

BPF_TABLE("percpu_array", u32, struct known_head, request_heads, HEADS_KEPT);
BPF_TABLE("percpu_array", u32, struct known_head, answer_heads, HEADS_KEPT);

/* What is counted of requests: of all that were decided; of all that were answered by servers, by
 * what the request was (WHAT_OF); and how long that took, by method. */
BPF_F_TABLE("percpu_hash", struct decision, u64, requests, MAX_TALLIES, BPF_F_NO_PREALLOC);
BPF_TABLE("percpu_array", u32, struct outcomes, outcomes, WHATS);
BPF_TABLE("percpu_array", u32, struct latencies, latencies, METHODS);

/* What is told of single requests, in the ring buffer FD_FLOW_RECORDS: struct request_record and
 * struct answer_record, whose layouts user space takes from the two arrays. */
#define FLOW_RECORDS ((void *)bpf_pseudo_fd(1, FD_FLOW_RECORDS))
BPF_ARRAY(request_records, struct request_record, 1);
BPF_ARRAY(answer_records, struct answer_record, 1);
BPF_TABLE("percpu_array", u32, struct pace, paces, 1);
BPF_TABLE("lru_hash", u64, struct beginning, beginnings, MAX_BEGINNINGS);
BPF_ARRAY(no_beginning, struct beginning, 1);

static inline void count_n(u32 which, u64 n)
{
    u64 *value = counters.lookup(&which);

    if (value)
        *value += n;
}

static inline void count(u32 which)
{
    count_n(which, 1);
}
