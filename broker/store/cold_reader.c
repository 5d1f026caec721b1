/* SPDX-License-Identifier: Apache-2.0
 *
 * Invariants: `waiting` counts the reads of all lanes, `waiting_in` those of each; a read that was
 * taken in is in one lane or in the hands of one thread, and is reported once.
 */
#include "broker/store/cold_reader.h"

#include "broker/store/reader.h"
#include "broker/store/store_internal.h"
#include "common/base/check.h"
#include "common/base/limits.h"
#include "common/sys/thread.h"

#include <stdio.h>
#include <string.h>

void cold_reader_init(struct cold_reader *reader, struct store *store)
{
    memset(reader, 0, sizeof *reader);
    reader->store = store;
    reader->closed = true;
    for (size_t i = 0; i < COLD_LANES; i++)
        list_init(&reader->lanes[i]);
    CHECK(pthread_mutex_init(&reader->lock, NULL) == 0);
    CHECK(pthread_cond_init(&reader->changed, NULL) == 0);
}

void cold_reader_release(struct cold_reader *reader)
{
    CHECK(reader->waiting == 0);
    (void)pthread_cond_destroy(&reader->changed);
    (void)pthread_mutex_destroy(&reader->lock);
}

/* The first read of the next lane that has one. Lock held; something waits. */
static struct cold_read *next_read(struct cold_reader *reader)
{
    while (list_empty(&reader->lanes[reader->next_lane]))
        reader->next_lane = (reader->next_lane + 1) % COLD_LANES;
    struct cold_read *read =
        list_entry(reader->lanes[reader->next_lane].next, struct cold_read, in_lane);
    list_remove(&read->in_lane);
    reader->waiting_in[reader->next_lane]--;
    reader->next_lane = (reader->next_lane + 1) % COLD_LANES;
    reader->waiting--;
    return read;
}

/* Wait for a read; NULL when the reader closes and none is left. *closed: it is to be given up. */
static struct cold_read *take(struct cold_reader *reader, bool *closed)
{
    struct cold_read *read = NULL;
    (void)pthread_mutex_lock(&reader->lock);
    while (reader->waiting == 0 && !reader->closed)
        (void)pthread_cond_wait(&reader->changed, &reader->lock);
    if (reader->waiting > 0)
        read = next_read(reader);
    *closed = reader->closed;
    (void)pthread_mutex_unlock(&reader->lock);
    return read;
}

static void serve(struct cold_reader *reader, struct cold_read *read, bool closed,
                  struct cold_loader *loader)
{
    struct store *store = reader->store;
    if (closed || atomic_load(&read->cancelled)) {
        read->status = STATUS_CLOSED;
    } else {
        read->status =
            reader_get(store, &read->request, loader, &read->arena, &read->result, &read->err);
        atomic_fetch_add_explicit(&reader->reads, 1, memory_order_relaxed);
    }
    read->done(read);
    cold_cache_ahead(&store->cold_cache, loader);
}

static void *work(void *arg)
{
    struct cold_reader *reader = arg;
    struct cold_loader loader = {0};
    struct cold_read *read;
    bool closed;
    while ((read = take(reader, &closed)) != NULL)
        serve(reader, read, closed, &loader);
    cold_loader_release(&loader);
    return NULL;
}

enum status cold_reader_start(struct cold_reader *reader, int threads, struct err *err)
{
    CHECK(threads >= 1 && threads <= COLD_THREADS_MAX);
    reader->closed = false;
    while (reader->thread_count < threads) {
        char name[32];
        (void)snprintf(name, sizeof name, "cold-read-%d", reader->thread_count);
        enum status status =
            thread_start(&reader->threads[reader->thread_count], name, work, reader, err);
        if (status != STATUS_OK)
            return status;
        reader->thread_count++;
    }
    return STATUS_OK;
}

void cold_reader_stop(struct cold_reader *reader)
{
    (void)pthread_mutex_lock(&reader->lock);
    reader->closed = true;
    (void)pthread_cond_broadcast(&reader->changed);
    (void)pthread_mutex_unlock(&reader->lock);
    while (reader->thread_count > 0)
        thread_join(reader->threads[--reader->thread_count]);
}

enum status cold_reader_add(struct cold_reader *reader, struct cold_read *read)
{
    enum status status = STATUS_OK;
    size_t lane = read->client % COLD_LANES;
    (void)pthread_mutex_lock(&reader->lock);
    if (reader->closed)
        status = STATUS_CLOSED;
    else if (reader->waiting >= COLD_READS_MAX && reader->waiting_in[lane] >= COLD_LANE_READS)
        status = STATUS_BUSY;
    if (status == STATUS_OK) {
        list_append(&reader->lanes[lane], &read->in_lane);
        reader->waiting_in[lane]++;
        reader->waiting++;
        (void)pthread_cond_signal(&reader->changed);
    }
    (void)pthread_mutex_unlock(&reader->lock);
    return status;
}

int64_t cold_reader_waiting(struct cold_reader *reader)
{
    (void)pthread_mutex_lock(&reader->lock);
    int64_t waiting = reader->waiting;
    (void)pthread_mutex_unlock(&reader->lock);
    return waiting;
}
