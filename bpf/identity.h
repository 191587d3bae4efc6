/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/* Who is at an address, who is running now, and which road a pair of them takes. */

static inline struct state *state_now(void)
{
    u32 zero = 0;

    return state.lookup(&zero);
}

static inline struct identity *identity_at(u32 epoch, const u32 *address)
{
    struct prefix key = {
        .prefixlen = 32 + 128,
        .epoch = epoch,
        .address = {address[0], address[1], address[2], address[3]},
    };

    return identities.lookup(&key);
}

static inline struct namespace *namespace_of(u64 cookie)
{
    u32 *slot = netns.lookup(&cookie);

    if (!slot)
        return 0;
    u32 index = *slot;
    return namespaces.lookup(&index);
}

/* The workload of the running task's cgroup or of one above it; process context only. */
static inline u32 identity_of_cgroup(struct state *now)
{
    if (!now->cgroups)
        return 0;
#pragma unroll
    for (int level = CGROUP_DEPTH; level > 0; level--) {
        u64 id = bpf_get_current_ancestor_cgroup_id(level);
        if (!id)
            continue;
        struct identity *found = cgroups.lookup(&id);
        if (found)
            return found->id;
    }
    return 0;
}

/* The running task's identity: its cgroup's workload, else its namespace's, else the node's; a
 * stranger's in a namespace that is not covered, where only the source address can tell. */
static inline u32 identity_of_task(struct state *now, u64 cookie, struct namespace *here)
{
    u32 id = identity_of_cgroup(now);

    if (id)
        return id;
    if (here && here->identity)
        return here->identity;
    return cookie == now->host_netns ? IDENTITY_HOST : IDENTITY_STRANGER;
}

/* What is recorded of the sockets that listen on address and port: of the nearest match. */
static inline struct listener *listener_at(struct namespace *there, const u32 *address, u16 port)
{
    struct endpoint key = {
        .address = {address[0], address[1], address[2], address[3]},
        .netns = there->cookie,
        .port = port,
    };
    struct listener *found = listeners.lookup(&key);

    if (!found && is_ip4(address)) {
        key.address[3] = 0;
        found = listeners.lookup(&key);
    }
    if (!found) { /* an IPv6 socket bound to any address takes IPv4 too, if no IPv4 one is there */
        key.address[0] = key.address[1] = key.address[2] = key.address[3] = 0;
        found = listeners.lookup(&key);
    }
    return found;
}

/* Who listens on address and port in a namespace: a workload known by cgroup may do so anywhere. */
static inline u32 identity_of_listener(struct state *now, struct namespace *there,
                                       const u32 *address, u16 port)
{
    struct listener *found = 0;

    if (now->cgroups || !there->identity)
        found = listener_at(there, address, port);
    if (found)
        return found->identity;
    return there->identity ? there->identity : IDENTITY_HOST;
}

/* Whether every socket that listens there is covered, so that sock_ops sees who is accepted. */
static inline int is_watched(struct namespace *there, const u32 *address, u16 port)
{
    struct listener *found = listener_at(there, address, port);

    return found && found->sockets;
}

/* Of a client whose connect() no program saw: it is not covered, or on another node. */
static inline u32 identity_of_stranger(struct state *now, struct namespace *here,
                                       struct flow *flow, int inside, int is_near)
{
    struct identity *found;

    if (inside)
        return here->identity ? here->identity : IDENTITY_HOST;
    found = identity_at(now->epoch, flow->client);
    if (!found)
        return IDENTITY_WORLD;
    if (is_near && (found->flags & FLAG_LOCAL)) {
        /* A task of this node in a namespace that is not covered has an address that belongs to
         * one that is: it is not whom the address names. */
        count(COUNTER_ADDRESS_FORGED);
        return IDENTITY_WORLD;
    }
    return found->id;
}

/* Who connected, seen from the server's end; IDENTITY_PROXY where the proxy did. */
static inline u32 identity_of_client(struct state *now, struct namespace *here, struct flow *flow)
{
    int inside = stays_inside(flow->client, flow->server);
    u32 client = 0, *recorded;

    flow->netns = inside ? here->cookie : 0;
    recorded = flows.lookup(flow);
    if (recorded)
        client = *recorded;
    if (!client) {
        flow->netns = here->cookie;
        if (upstreams.lookup(flow))
            client = IDENTITY_PROXY;
    }
    if (!client || client == IDENTITY_STRANGER)
        client = identity_of_stranger(now, here, flow, inside, client == IDENTITY_STRANGER);
    return client;
}

/* Whether the policy set in force has been told of an identity. One that it has not (a workload
 * was renamed, and its sockets carry the old or already the new number) has no say: it is refused. */
static inline int is_known(u32 epoch, u32 id)
{
    struct pair_of_identities key = {.epoch = epoch, .client = id};

    return roads.lookup(&key) != 0;
}

static inline u32 road_of(u32 epoch, u32 client, u32 server, u16 port)
{
    struct port_prefix port_key = {.prefixlen = 32 + 16, .epoch = epoch, .port = bpf_htons(port)};
    u32 *port_class = port_classes.lookup(&port_key);
    struct pair_of_identities key = {.epoch = epoch, .client = client, .server = server};
    u32 *road;

    if (server == IDENTITY_CONTESTED || client == IDENTITY_CONTESTED)
        return ROAD_REFUSED;
    if (client == server)
        return ROAD_SPLICE; /* a workload may always talk to itself */
    key.port_class = port_class ? *port_class : 0;
    road = roads.lookup(&key);
    if (road)
        return *road;
    if (is_known(epoch, client) && is_known(epoch, server))
        return ROAD_SPLICE;
    count(COUNTER_IDENTITY_UNKNOWN);
    return ROAD_REFUSED;
}
