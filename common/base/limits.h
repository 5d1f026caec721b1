/* SPDX-License-Identifier: Apache-2.0
 *
 * Every fixed limit of the program, with its unit and the reason for its value. Limits that a user
 * may set live in the configuration tables instead.
 */
#ifndef COMMON_BASE_LIMITS_H
#define COMMON_BASE_LIMITS_H

/* RocketMQ's com.rocketmq.remoting.frameMaxLength default; includes the length field. */
#define FRAME_BYTES_MAX 16777216

/* A topic's length is a signed byte in the record, the properties' a signed short. */
#define TOPIC_BYTES_MAX 127
#define PROPERTIES_BYTES_MAX 32767

/* The begin of a record that a slave holds in memory until its master has sent the rest, and a
 * filler with what its file has behind it, which is no longer than a record. Four times what a
 * client may send (FRAME_BYTES_MAX), so that a master may have a larger maxMessageSize than its
 * slave; with a larger one still, the slave's has to be as large. */
#define RAW_PIECE_BYTES_MAX (64 * 1024 * 1024)

/* Growth of the commit log that makes a checkpoint due before its time: a start after a crash reads
 * what lies behind it, at 1 GB/s or more. The sync of the index writes up to 20 MB of hash slots
 * each time, so it should not be much less. */
#define CHECKPOINT_BYTES (192LL * 1024 * 1024)

/* Group names: the Java client refuses more than this. */
#define GROUP_BYTES_MAX 255

/* Fields of one command header. The widest header of 4.9.2 has 18; unknown ones ride along. */
#define EXT_FIELDS_MAX 256

/* Nesting of JSON in bodies; the deepest real body has 6 levels. */
#define JSON_DEPTH_MAX 64

/* Bytes that one request's arena may hold for decoding a body (a JSON tree is several times its
 * text). Beyond it the request is refused. */
#define DECODE_BYTES_MAX (256 * 1024 * 1024)

/* Queues of one topic: beyond this a topic command is refused (4.9.2 has no limit). */
#define TOPIC_QUEUES_MAX 65536

/* The broker's tables that grow by what clients name (4.9.2 has no limits). A config file made of a
 * full table must still fit into DECODE_BYTES_MAX when it is loaded; the tests of broker/state fill
 * them and load them again. */
#define TOPICS_MAX 100000 /* the registration of so many just fits into a frame */
#define GROUPS_MAX 50000
#define OFFSET_KEYS_MAX 100000    /* topic@group */
#define OFFSET_QUEUES_MAX 1000000 /* offsets over all of them */

/* Detached calls of one connection, those that wait for a worker thread or for a topic to be
 * created. With so many under way it is not read until half of them have ended: their answers can
 * be large, and one client must not fill the workers' queue. Enough to keep all workers busy. */
#define CONNECTION_DETACHED_CALLS_MAX 32

/* Calls to one client that wait for its answer (4.9.2 has 64 over all clients and lets 10,000
 * replies wait for their turn). A requester that asks many things at once gets the replies in
 * bursts. */
#define CONNECTION_OUTCALLS_MAX 4096
/* While its output is above the high water mark, as with pulled messages on their way, so many
 * bytes of unanswered calls may be queued behind it all the same. */
#define CONNECTION_OUTCALL_BYTES_MAX (8 * 1024 * 1024)

/* TLS handshakes under way on one loop, each some 20 KiB and up to 150 KiB when the peer means
 * harm; and how long one may take (as Netty's in 4.9.2). */
#define TLS_HANDSHAKES_MAX 256
#define TLS_HANDSHAKE_MS 10000

/* Messages of one loop that wait to be appended while the disk is slow, beside their number
 * (sendThreadPoolQueueCapacity): a second's worth of a fast network. */
#define SENDS_QUEUED_BYTES_MAX (64 * 1024 * 1024)

/* Groups that one connection may be in as producer or consumer. */
#define CONNECTION_GROUPS_MAX 4096

/* Held pulls of one connection: a push consumer holds one for each queue that it reads. Beyond the
 * number or the bytes, or the bytes over all connections, a pull that finds nothing is answered at
 * once. */
#define CONNECTION_HELD_MAX 16384
#define CONNECTION_HELD_BYTES_MAX (8 * 1024 * 1024)
#define HELD_BYTES_MAX (512LL * 1024 * 1024)

/* What was appended within this many bytes of the end of the log, since the store was opened, is
 * taken to be in memory without asking the kernel. Small beside any machine's memory, large beside
 * what consumers that keep up are behind. */
#define LOG_HOT_BYTES (64LL * 1024 * 1024)

/* Pulls that may wait for the disk, over all connections. Two threads of a slow disk read so many
 * in about 20 s, after which the client has given up. A client with few of them gets some more. */
#define COLD_READS_MAX 4096

/* Bytes of members and subscriptions over all groups; beyond it heartbeats add nothing. */
#define CLIENTS_BYTES_MAX (512LL * 1024 * 1024)

/* Tags of one subscription, and the bytes of its expression. */
#define SUBSCRIPTION_TAGS_MAX 4096
#define SUBSCRIPTION_EXPRESSION_BYTES_MAX 65536

/* Filters of topics and groups, and the bytes of their expressions, as text and compiled. Those
 * of consumers that have gone are kept for a day; they go first when there is no room. The file of
 * a full table must be loaded again, see TOPICS_MAX. */
#define FILTERS_MAX 20000
#define FILTERS_BYTES_MAX (64LL * 1024 * 1024)

/* New expressions that one heartbeat has compiled, some tens of milliseconds at worst, on its loop.
 */
#define HEARTBEAT_COMPILE_BYTES_MAX (256 * 1024)

/* Consume queue files that are mapped for reading, and open for writing, at a time. A mapping costs
 * one of vm.max_map_count (65,530 by default; at most a quarter is used) and up to 4 KiB of page
 * table for each part of it that is read; a descriptor one of ulimit -n (at most half is used) and
 * some 2 KiB in the kernel. Tens of thousands of queues may be in use with fewer: the others are
 * opened again each time, for about 10 us. */
#define QUEUE_MAPPINGS_MAX 8192
#define QUEUE_DESCRIPTORS_MAX 16384

/* Consume queues that are synced one by one; more of them are synced with their file system as a
 * whole, which commits its journal once instead of once for each. */
#define QUEUE_SYNCS_MAX 64

/* Queues locked for ordered consumption, over all groups. */
#define QUEUE_LOCKS_MAX 1000000

/* Pop consumption: checkpoints that are not done, of one queue and over all (some 200 to 350 bytes
 * each), and queues that groups pop. A queue with so many gives no further messages until some are
 * acknowledged or come again. */
#define POP_QUEUE_POINTS_MAX 65536
#define POP_POINTS_MAX 1000000
#define POP_QUEUES_MAX 200000

/* Topics and groups whose arrivals are told to waiting pops. */
#define POP_POLL_GROUPS_MAX 50000

/* Topics and groups whose way of consumption was set (SET_MESSAGE_REQUEST_MODE). */
#define REQUEST_MODES_MAX 100000

/* Questions of QUERY_ASSIGNMENT that wait for a name server's answer, some 5 KB each. */
#define ROUTE_WISHES_MAX 4096

/* plain_acl.yml: some thousands of accounts. Each range of addresses in a list is compared with
 * every request that the list is asked about, a few nanoseconds each. */
#define ACL_FILE_BYTES_MAX (1024 * 1024)
#define ACL_RANGES_MAX 1024

#endif
