/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/store/health.h"

#include "common/base/check.h"
#include "common/sys/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define SPACE_REASONS (REFUSAL_DISK_RATIO | REFUSAL_NO_SPACE | REFUSAL_QUEUES_FULL)

void health_init(struct health *health)
{
    memset(health, 0, sizeof *health);
    CHECK(pthread_mutex_init(&health->lock, NULL) == 0);
}

void health_release(struct health *health)
{
    (void)pthread_mutex_destroy(&health->lock);
}

void health_set(struct health *health, enum refusal reason)
{
    atomic_fetch_or(&health->refusals, (unsigned)reason);
}

void health_fail(struct health *health, const char *format, ...)
{
    (void)pthread_mutex_lock(&health->lock);
    bool first = !health_has(health, REFUSAL_FAILED);
    if (first) {
        va_list args;
        va_start(args, format);
        (void)vsnprintf(health->failure, sizeof health->failure, format, args);
        va_end(args);
        health_set(health, REFUSAL_FAILED);
    }
    (void)pthread_mutex_unlock(&health->lock);
    if (first)
        log_error("store", "writing has ended until the next start", "why=\"%s\"", health->failure);
    if (first && health->on_failure != NULL)
        health->on_failure(health->on_failure_ctx);
}

void health_refuse(struct health *health, enum refusal reason, const char *format, ...)
{
    char text[ERR_TEXT_BYTES];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);

    (void)pthread_mutex_lock(&health->lock);
    bool first = !health_has(health, reason);
    memcpy(health->space, text, sizeof text);
    health_set(health, reason);
    (void)pthread_mutex_unlock(&health->lock);
    if (first)
        log_error("store", "messages are refused", "why=\"%s\"", text);
}

void health_allow(struct health *health, enum refusal reason)
{
    unsigned before = atomic_fetch_and(&health->refusals, ~(unsigned)reason);
    unsigned left = before & ~(unsigned)reason & ~(unsigned)REFUSAL_SLAVE; /* has its line, too */
    if ((before & (unsigned)reason) != 0 && left == 0)
        log_info("store", "messages are accepted again", "reasons_before=%u", before);
}

bool health_explain(const struct health *health, char *why, size_t why_bytes)
{
    unsigned refusals = atomic_load_explicit(&health->refusals, memory_order_acquire);
    if (refusals == 0)
        return true;
    if (why == NULL || why_bytes == 0)
        return false;
    pthread_mutex_t *lock = (pthread_mutex_t *)(uintptr_t)&health->lock;
    (void)pthread_mutex_lock(lock);
    const char *text = "the store is closing";
    if (refusals & REFUSAL_FAILED)
        text = health->failure;
    else if (refusals & SPACE_REASONS)
        text = health->space;
    else if (refusals & REFUSAL_SLAVE)
        text = "this broker is a slave; send to the master";
    (void)snprintf(why, why_bytes, "%s", text);
    (void)pthread_mutex_unlock(lock);
    return false;
}
