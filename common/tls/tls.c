/* SPDX-License-Identifier: Apache-2.0
 *
 * Invariant: what a side has in use was made of the contents whose digest is `used`. The lock
 * guards the pointers to contexts only; files are read and contexts made without it, except that of
 * test mode, which takes a few milliseconds once.
 */
#include "common/tls/tls.h"

#include "common/base/check.h"
#include "common/sys/log.h"
#include "common/sys/thread.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define LOOK_MS 500
#define DIGEST_BYTES 32

struct digest {
    unsigned char bytes[DIGEST_BYTES];
};

struct side {
    enum tls_role role;
    bool wanted;
    bool failed;      /* test mode only */
    SSL_CTX *context; /* under the lock; NULL until it is made */
    /* The rest is the watching thread's. Of all files of the side: */
    struct digest used;
    struct digest seen;    /* at the last look */
    struct digest refused; /* could not be used, which was said */
};

struct tls {
    struct tls_settings settings;
    struct side sides[2];
    pthread_mutex_t lock;
    pthread_cond_t woken;
    bool stopping; /* under the lock */
    bool started;
    pthread_t thread;
};

/* --- what is in the files --- */

static struct digest digest_of(const struct tls_contents *contents)
{
    struct digest digest = {{0}};
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    CHECK(md != NULL && EVP_DigestInit_ex(md, EVP_sha256(), NULL) == 1);
    for (int i = 0; i < TLS_FILES; i++) {
        CHECK(EVP_DigestUpdate(md, &contents->sizes[i], sizeof contents->sizes[i]) == 1);
        if (contents->sizes[i] > 0)
            CHECK(EVP_DigestUpdate(md, contents->data[i], contents->sizes[i]) == 1);
    }
    CHECK(EVP_DigestFinal_ex(md, digest.bytes, NULL) == 1);
    EVP_MD_CTX_free(md);
    return digest;
}

static bool same(const struct digest *a, const struct digest *b)
{
    return memcmp(a, b, sizeof *a) == 0;
}

static bool has_files(const struct tls *tls, const struct side *side)
{
    bool any = false;
    for (int i = 0; side->wanted && i < TLS_FILES; i++)
        any |= tls_file_path(&tls->settings, side->role, (enum tls_file)i)[0] != '\0';
    return any;
}

static const char *name_of(const struct side *side)
{
    return side->role == TLS_SERVER ? "server" : "client";
}

/* --- life --- */

static bool is_lazy(const struct tls *tls, const struct side *side)
{
    return side->role == TLS_SERVER && tls->settings.test_mode;
}

static enum status load(struct tls *tls, struct side *side, struct err *err)
{
    struct tls_contents contents;
    enum status status = tls_contents_read(&tls->settings, side->role, &contents, err);
    if (status == STATUS_OK)
        status = tls_context_new(&tls->settings, side->role, &contents, &side->context, err);
    if (status == STATUS_OK) {
        side->used = digest_of(&contents);
        side->seen = side->used;
    }
    tls_contents_release(&contents);
    return status;
}

enum status tls_new(const struct tls_settings *settings, int sides, struct tls **out,
                    struct err *err)
{
    struct tls *tls = xcalloc(1, sizeof *tls);
    pthread_condattr_t attributes;
    tls->settings = *settings;
    CHECK(pthread_mutex_init(&tls->lock, NULL) == 0);
    CHECK(pthread_condattr_init(&attributes) == 0);
    CHECK(pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC) == 0);
    CHECK(pthread_cond_init(&tls->woken, &attributes) == 0);
    CHECK(pthread_condattr_destroy(&attributes) == 0);
    enum status status = STATUS_OK;
    for (int i = 0; status == STATUS_OK && i < 2; i++) {
        struct side *side = &tls->sides[i];
        side->role = (enum tls_role)i;
        side->wanted = (sides & (i == TLS_SERVER ? TLS_SIDE_SERVER : TLS_SIDE_CLIENT)) != 0;
        if (side->wanted && !is_lazy(tls, side))
            status = load(tls, side, err);
    }
    if (status == STATUS_OK)
        *out = tls;
    else
        tls_free(tls);
    return status;
}

void tls_free(struct tls *tls)
{
    if (tls == NULL)
        return;
    tls_stop(tls);
    for (int i = 0; i < 2; i++)
        SSL_CTX_free(tls->sides[i].context);
    CHECK(pthread_cond_destroy(&tls->woken) == 0);
    CHECK(pthread_mutex_destroy(&tls->lock) == 0);
    free(tls);
}

/* --- using --- */

static void make_lazily(struct tls *tls, struct side *side)
{
    const struct tls_contents none = {0};
    struct err err = {0};
    if (tls_context_new(&tls->settings, side->role, &none, &side->context, &err) == STATUS_OK)
        return;
    side->failed = true;
    log_error("tls", "no certificate can be made; TLS connections are closed", "cause=\"%s\"",
              err.text);
}

SSL_CTX *tls_context(struct tls *tls, enum tls_role role)
{
    struct side *side = &tls->sides[role];
    CHECK(pthread_mutex_lock(&tls->lock) == 0);
    if (side->wanted && side->context == NULL && !side->failed)
        make_lazily(tls, side);
    SSL_CTX *context = side->context;
    if (context != NULL)
        CHECK(SSL_CTX_up_ref(context) == 1);
    CHECK(pthread_mutex_unlock(&tls->lock) == 0);
    return context;
}

/* --- watching --- */

static void replace(struct tls *tls, struct side *side, const struct tls_contents *contents,
                    const struct digest *digest)
{
    SSL_CTX *fresh;
    struct err err = {0};
    if (tls_context_new(&tls->settings, side->role, contents, &fresh, &err) != STATUS_OK) {
        side->refused = *digest;
        log_warn("tls", "changed certificates can not be used, those in use stay",
                 "side=%s cause=\"%s\"", name_of(side), err.text);
        return;
    }
    CHECK(pthread_mutex_lock(&tls->lock) == 0);
    SSL_CTX *before = side->context;
    side->context = fresh;
    CHECK(pthread_mutex_unlock(&tls->lock) == 0);
    SSL_CTX_free(before);
    side->used = *digest;
    log_info("tls", "certificates have changed, new connections use them", "side=%s",
             name_of(side));
}

static void look_at(struct tls *tls, struct side *side)
{
    struct tls_contents contents;
    /* A file that is missing for a moment is being replaced. */
    if (tls_contents_read(&tls->settings, side->role, &contents, NULL) == STATUS_OK) {
        struct digest digest = digest_of(&contents);
        bool settled = same(&digest, &side->seen);
        side->seen = digest;
        if (settled && !same(&digest, &side->used) && !same(&digest, &side->refused))
            replace(tls, side, &contents, &digest);
    }
    tls_contents_release(&contents);
}

void tls_look(struct tls *tls)
{
    for (int i = 0; i < 2; i++)
        if (has_files(tls, &tls->sides[i]))
            look_at(tls, &tls->sides[i]);
}

static struct timespec next_look(void)
{
    struct timespec at;
    CHECK(clock_gettime(CLOCK_MONOTONIC, &at) == 0);
    at.tv_nsec += LOOK_MS * 1000000L;
    at.tv_sec += at.tv_nsec / 1000000000L;
    at.tv_nsec %= 1000000000L;
    return at;
}

/* Sleep until the next look; false: it is time to end. */
static bool rest(struct tls *tls)
{
    struct timespec until = next_look();
    int error = 0;
    CHECK(pthread_mutex_lock(&tls->lock) == 0);
    while (!tls->stopping && error == 0)
        error = pthread_cond_timedwait(&tls->woken, &tls->lock, &until);
    bool go_on = !tls->stopping;
    CHECK(pthread_mutex_unlock(&tls->lock) == 0);
    return go_on;
}

static void *watch(void *arg)
{
    struct tls *tls = arg;
    while (rest(tls))
        tls_look(tls);
    return NULL;
}

enum status tls_start(struct tls *tls, struct err *err)
{
    if (!has_files(tls, &tls->sides[TLS_SERVER]) && !has_files(tls, &tls->sides[TLS_CLIENT]))
        return STATUS_OK;
    enum status status = thread_start(&tls->thread, "tls-watch", watch, tls, err);
    tls->started = status == STATUS_OK;
    return status;
}

void tls_stop(struct tls *tls)
{
    if (tls == NULL || !tls->started)
        return;
    CHECK(pthread_mutex_lock(&tls->lock) == 0);
    tls->stopping = true;
    CHECK(pthread_cond_signal(&tls->woken) == 0);
    CHECK(pthread_mutex_unlock(&tls->lock) == 0);
    thread_join(tls->thread);
    tls->started = false;
}
