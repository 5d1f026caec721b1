/* SPDX-License-Identifier: Apache-2.0
 *
 * OpenSSL reads and writes through a BIO of ours, which takes from `io->in` and adds to `io->out`.
 * Both are empty between calls: what was read has been decrypted, or waits in OpenSSL as the
 * beginning of a record; what the socket did not take moves to the connection's `unsent`.
 */
#include "common/net/tls_transport.h"

#include "common/base/check.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

/* With the begin of a record that OpenSSL holds (16 KiB and its frame) no more than
 * TRANSPORT_READ_BYTES come out. */
#define READ_BYTES ((size_t)96 * 1024)
#define RECORD_BYTES ((size_t)16 * 1024)
/* Encrypted at a time; as much waits at most for a peer that does not read. */
#define WRITE_BYTES ((size_t)64 * 1024)
/* A peer that makes us answer (alerts, new keys) and does not read is given up. */
#define UNSENT_BYTES_MAX ((size_t)512 * 1024)
#define OUT_KEPT_BYTES ((size_t)128 * 1024)

struct tls_state {
    SSL *ssl; /* NULL until the handshake's first step */
    struct tls_io *io;
    enum tls_role role;
    struct buf unsent;
    size_t unsent_at;    /* bytes of it that have left */
    size_t unsent_plain; /* bytes of the caller's that it holds the end of */
    enum status end;     /* of reading; OK: not yet */
    char problem[160];
};

/* --- memory of a loop --- */

struct tls_io *tls_io_new(struct tls *tls, enum tls_mode mode)
{
    struct tls_io *io = xcalloc(1, sizeof *io);
    io->tls = tls;
    io->mode = mode;
    return io;
}

void tls_io_free(struct tls_io *io)
{
    if (io == NULL)
        return;
    free(io->memory);
    buf_release(&io->out);
    free(io);
}

static uint8_t *read_memory(struct tls_io *io)
{
    if (io->memory == NULL)
        io->memory = xmalloc(READ_BYTES + WRITE_BYTES);
    return io->memory;
}

/* Where bytes are put together that are to be encrypted. */
static uint8_t *write_memory(struct tls_io *io)
{
    return read_memory(io) + READ_BYTES;
}

/* --- OpenSSL's side of the socket --- */

static int bio_read(BIO *bio, char *data, int size)
{
    struct slice *in = &((struct tls_state *)BIO_get_data(bio))->io->in;
    BIO_clear_retry_flags(bio);
    if (in->size == 0) {
        BIO_set_retry_read(bio);
        return -1;
    }
    size_t take = in->size < (size_t)size ? in->size : (size_t)size;
    memcpy(data, in->data, take);
    *in = slice_from(*in, take);
    return (int)take;
}

static int bio_write(BIO *bio, const char *data, int size)
{
    struct tls_state *tls = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    buf_append(&tls->io->out, data, (size_t)size);
    return size;
}

static long bio_control(BIO *bio, int command, long number, void *arg)
{
    (void)bio;
    (void)number;
    (void)arg;
    return command == BIO_CTRL_FLUSH || command == BIO_CTRL_DUP ? 1 : 0;
}

static BIO_METHOD *bio_method;

static void make_bio_method(void)
{
    bio_method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "loop");
    CHECK(bio_method != NULL && BIO_meth_set_read(bio_method, bio_read) == 1 &&
          BIO_meth_set_write(bio_method, bio_write) == 1 &&
          BIO_meth_set_ctrl(bio_method, bio_control) == 1);
}

static BIO *new_bio(struct tls_state *tls)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    CHECK(pthread_once(&once, make_bio_method) == 0);
    BIO *bio = BIO_new(bio_method);
    CHECK(bio != NULL);
    BIO_set_data(bio, tls);
    BIO_set_init(bio, 1);
    return bio;
}

/* --- sending --- */

/* returns  OK (*sent > 0) | BUSY | CLOSED | IO */
static enum status give(int fd, const uint8_t *data, size_t size, bool more, size_t *sent)
{
    ssize_t n;
    do
        n = send(fd, data, size, MSG_NOSIGNAL | (more ? MSG_MORE : 0));
    while (n == -1 && errno == EINTR);
    if (n > 0) {
        *sent = (size_t)n;
        return STATUS_OK;
    }
    if (n == 0 || errno == EAGAIN)
        return STATUS_BUSY;
    return errno == ECONNRESET || errno == EPIPE ? STATUS_CLOSED : STATUS_IO;
}

static void unsent_is_through(struct transport *transport)
{
    struct tls_state *tls = transport->state;
    buf_release(&tls->unsent);
    tls->unsent_at = 0;
    transport->unsent_bytes = 0;
}

/* Give the socket what it did not take before. *sent: bytes of the caller's that have left by that.
 * returns  OK (also when only a part has left) | BUSY | CLOSED | IO */
static enum status send_unsent(struct transport *transport, size_t *sent)
{
    struct tls_state *tls = transport->state;
    size_t left = tls->unsent.size - tls->unsent_at;
    size_t n = 0;
    enum status status = give(transport->fd, tls->unsent.data + tls->unsent_at, left, false, &n);
    tls->unsent_at += n;
    if (n < left)
        return status;
    unsent_is_through(transport);
    *sent = tls->unsent_plain;
    tls->unsent_plain = 0;
    return STATUS_OK;
}

static void reset_out(struct tls_io *io)
{
    buf_clear(&io->out);
    if (io->out.capacity > OUT_KEPT_BYTES)
        buf_release(&io->out);
}

/* Give the socket what was encrypted in this call, which is `plain` bytes of the caller's.
 * returns  as send_unsent */
static enum status send_out(struct transport *transport, size_t plain, bool more, size_t *sent)
{
    struct tls_state *tls = transport->state;
    struct buf *out = &tls->io->out;
    size_t n = 0;
    enum status status = STATUS_OK;
    if (out->size > 0 && transport->unsent_bytes == 0)
        status = give(transport->fd, out->data, out->size, more, &n);
    if (status != STATUS_OK && status != STATUS_BUSY) {
        reset_out(tls->io);
        return status;
    }
    if (n < out->size) {
        buf_append(&tls->unsent, out->data + n, out->size - n);
        tls->unsent_plain += plain;
        transport->unsent_bytes = tls->unsent.capacity;
    } else {
        *sent = plain;
    }
    reset_out(tls->io);
    return status;
}

/* --- trouble --- */

/* Put the reason of the last failure into words. */
static enum status describe(struct transport *transport)
{
    struct tls_state *tls = transport->state;
    const char *reason = ERR_reason_error_string(ERR_peek_error());
    long verified = tls->ssl == NULL ? X509_V_OK : SSL_get_verify_result(tls->ssl);
    const char *what = transport->handshaking ? "TLS handshake failed" : "not TLS any more";
    if (reason == NULL)
        reason = "unknown cause";
    if (verified != X509_V_OK)
        (void)snprintf(tls->problem, sizeof tls->problem, "%s: %s: %s", what, reason,
                       X509_verify_cert_error_string(verified));
    else
        (void)snprintf(tls->problem, sizeof tls->problem, "%s: %s", what, reason);
    ERR_clear_error();
    transport->problem = tls->problem;
    return STATUS_MALFORMED;
}

/* A call of OpenSSL's has returned `result`. BUSY: it wants more bytes. */
static enum status status_of(struct transport *transport, int result)
{
    struct tls_state *tls = transport->state;
    switch (SSL_get_error(tls->ssl, result)) {
    case SSL_ERROR_WANT_READ:
        return STATUS_BUSY;
    case SSL_ERROR_ZERO_RETURN:
        return STATUS_CLOSED;
    default:
        return describe(transport);
    }
}

/* --- reading --- */

static enum status start(struct transport *transport)
{
    struct tls_state *tls = transport->state;
    SSL_CTX *context = tls_context(tls->io->tls, tls->role);
    if (context == NULL) {
        transport->problem = "TLS handshake failed: this server has no certificate";
        return STATUS_MALFORMED;
    }
    tls->ssl = SSL_new(context);
    SSL_CTX_free(context);
    CHECK(tls->ssl != NULL);
    BIO *bio = new_bio(tls);
    SSL_set_bio(tls->ssl, bio, bio);
    if (tls->role == TLS_SERVER)
        SSL_set_accept_state(tls->ssl);
    else
        SSL_set_connect_state(tls->ssl);
    return STATUS_OK;
}

/* returns  OK (done) | BUSY | MALFORMED */
static enum status shake_hands(struct transport *transport)
{
    struct tls_state *tls = transport->state;
    enum status status = tls->ssl == NULL ? start(transport) : STATUS_OK;
    if (status != STATUS_OK)
        return status;
    int result = SSL_do_handshake(tls->ssl);
    if (result != 1)
        return status_of(transport, result);
    transport->handshaking = false;
    return STATUS_OK;
}

/* Decrypt all there is.
 * returns  OK (*got > 0) | BUSY | CLOSED | MALFORMED; of the last two *got may be above 0 */
static enum status decrypt(struct transport *transport, const struct iovec *parts, int count,
                           size_t *got)
{
    struct tls_state *tls = transport->state;
    for (int i = 0; i < count; i++) {
        for (size_t filled = 0; filled < parts[i].iov_len;) {
            size_t n = 0;
            int result = SSL_read_ex(tls->ssl, (uint8_t *)parts[i].iov_base + filled,
                                     parts[i].iov_len - filled, &n);
            if (result != 1) {
                enum status status = status_of(transport, result);
                return status == STATUS_BUSY && *got > 0 ? STATUS_OK : status;
            }
            filled += n;
            *got += n;
        }
    }
    /* There was room for all of it. */
    CHECK(tls->io->in.size == 0 && SSL_pending(tls->ssl) == 0);
    return STATUS_OK;
}

/* returns  OK, with io->in | BUSY | CLOSED | IO */
static enum status fetch(struct transport *transport)
{
    struct tls_state *tls = transport->state;
    uint8_t *memory = read_memory(tls->io);
    ssize_t n;
    do
        n = recv(transport->fd, memory, READ_BYTES, 0);
    while (n == -1 && errno == EINTR);
    if (n > 0)
        tls->io->in = slice_of(memory, (size_t)n);
    else if (n == 0 || errno == ECONNRESET || errno == EPIPE)
        return STATUS_CLOSED;
    else
        return errno == EAGAIN ? STATUS_BUSY : STATUS_IO;
    return STATUS_OK;
}

/* What was read before an end is handed out first. */
static enum status finish_read(struct transport *transport, enum status status, size_t got)
{
    struct tls_state *tls = transport->state;
    tls->io->in = SLICE_EMPTY;
    if (status == STATUS_OK || status == STATUS_BUSY)
        return status;
    tls->end = status;
    transport->read_again = got > 0;
    return got > 0 ? STATUS_OK : status;
}

static enum status tls_readv(struct transport *transport, const struct iovec *parts, int count,
                             size_t *got)
{
    struct tls_state *tls = transport->state;
    transport->read_again = false;
    if (tls->end != STATUS_OK)
        return tls->end;
    *got = 0;
    if (transport->unsent_bytes > UNSENT_BYTES_MAX) {
        transport->problem = "the peer does not read what TLS has to tell it";
        return tls->end = STATUS_MALFORMED;
    }
    ERR_clear_error();
    enum status status = fetch(transport);
    bool opening = transport->handshaking && tls->ssl == NULL && status == STATUS_BUSY;
    if (status == STATUS_OK || opening) {
        status = transport->handshaking ? shake_hands(transport) : STATUS_OK;
        if (status == STATUS_OK)
            status = decrypt(transport, parts, count, got);
        /* Parts of the handshake, alerts, new keys. */
        size_t sent = 0;
        enum status flushed = send_out(transport, 0, false, &sent);
        if (flushed != STATUS_OK && flushed != STATUS_BUSY && status == STATUS_BUSY)
            status = flushed;
    }
    return finish_read(transport, status, *got);
}

/* --- writing --- */

/* Memory takes all of it, but a peer can keep OpenSSL from writing: by half a message of TLS's own,
 * such as new keys, whose rest it holds back. Nobody honest cuts those in two.
 * returns  OK | MALFORMED */
static enum status encrypt(struct transport *transport, const uint8_t *data, size_t size)
{
    struct tls_state *tls = transport->state;
    size_t written = 0;
    if (size == 0)
        return STATUS_OK;
    ERR_clear_error();
    if (SSL_write_ex(tls->ssl, data, size, &written) == 1) {
        CHECK(written == size);
        return STATUS_OK;
    }
    ERR_clear_error();
    reset_out(tls->io);
    transport->problem = "the peer holds back the rest of a message of TLS's own";
    return tls->end = STATUS_MALFORMED;
}

/* Encrypt the first WRITE_BYTES of the pieces at most, small ones put together.
 * total    how many
 * returns  OK | MALFORMED */
static enum status encrypt_pieces(struct transport *transport, const struct iovec *parts, int count,
                                  size_t *total)
{
    const struct tls_state *tls = transport->state;
    uint8_t *stage = write_memory(tls->io);
    size_t staged = 0;
    enum status status = STATUS_OK;
    *total = 0;
    for (int i = 0; i < count && *total < WRITE_BYTES; i++) {
        const uint8_t *data = parts[i].iov_base;
        size_t left = parts[i].iov_len;
        if (left > WRITE_BYTES - *total)
            left = WRITE_BYTES - *total;
        *total += left;
        while (left > 0 && status == STATUS_OK) {
            if (staged == 0 && left >= RECORD_BYTES) {
                status = encrypt(transport, data, left);
                break;
            }
            size_t take = left < RECORD_BYTES - staged ? left : RECORD_BYTES - staged;
            memcpy(stage + staged, data, take);
            staged += take;
            data += take;
            left -= take;
            if (staged == RECORD_BYTES) {
                status = encrypt(transport, stage, staged);
                staged = 0;
            }
        }
    }
    return status == STATUS_OK ? encrypt(transport, stage, staged) : status;
}

/* What comes before anything is encrypted. OK with *go_on: encrypt. */
static enum status before_writing(struct transport *transport, size_t *sent, bool *go_on)
{
    const struct tls_state *tls = transport->state;
    *sent = 0;
    *go_on = false;
    if (transport->unsent_bytes > 0) {
        enum status status = send_unsent(transport, sent);
        if (status != STATUS_OK || *sent > 0 || transport->unsent_bytes > 0)
            return status;
    }
    if (transport->handshaking)
        return STATUS_BUSY;
    if (tls->end != STATUS_OK && tls->end != STATUS_CLOSED)
        return STATUS_CLOSED;
    *go_on = true;
    return STATUS_OK;
}

static enum status tls_writev(struct transport *transport, const struct iovec *parts, int count,
                              bool more, size_t *sent)
{
    bool go_on;
    enum status status = before_writing(transport, sent, &go_on);
    if (!go_on)
        return status;
    size_t plain;
    status = encrypt_pieces(transport, parts, count, &plain);
    return status == STATUS_OK ? send_out(transport, plain, more, sent) : status;
}

/* Bytes of a file that are in memory, at most `size`.
 * returns  OK | NOT_FOUND | TRUNCATED */
static enum status read_cached(int fd, int64_t offset, uint8_t *out, size_t size, size_t *got)
{
    struct iovec part = {out, size};
    ssize_t n;
    do
        n = preadv2(fd, &part, 1, offset, RWF_NOWAIT);
    while (n == -1 && errno == EINTR);
    if (n == -1 && errno == EAGAIN) {
        (void)posix_fadvise(fd, offset, (off_t)size, POSIX_FADV_WILLNEED);
        return STATUS_TRUNCATED;
    }
    if (n == -1 && errno == EOPNOTSUPP) /* a file system without that question */
        n = pread(fd, out, size, offset);
    if (n == 0)
        errno = EIO; /* the file was cut by somebody */
    if (n <= 0)
        return STATUS_NOT_FOUND;
    *got = (size_t)n;
    return STATUS_OK;
}

static enum status tls_send_file(struct transport *transport, int fd, int64_t offset, size_t size,
                                 size_t *sent)
{
    struct tls_state *tls = transport->state;
    bool go_on;
    enum status status = before_writing(transport, sent, &go_on);
    if (!go_on)
        return status;
    uint8_t *stage = write_memory(tls->io);
    size_t got = 0;
    status = read_cached(fd, offset, stage, size < WRITE_BYTES ? size : WRITE_BYTES, &got);
    if (status == STATUS_OK)
        status = encrypt(transport, stage, got);
    return status == STATUS_OK ? send_out(transport, got, false, sent) : status;
}

/* --- the end --- */

/* Tell the peer that no more will come, where that makes sense. */
static void say_goodbye(struct transport *transport)
{
    struct tls_state *tls = transport->state;
    size_t sent = 0;
    if (tls->ssl == NULL || transport->handshaking || transport->unsent_bytes > 0 ||
        (tls->end != STATUS_OK && tls->end != STATUS_CLOSED))
        return;
    ERR_clear_error();
    (void)SSL_shutdown(tls->ssl);
    ERR_clear_error();
    (void)send_out(transport, 0, false, &sent);
}

static void tls_close(struct transport *transport)
{
    struct tls_state *tls = transport->state;
    if (!transport->resetting)
        say_goodbye(transport);
    SSL_free(tls->ssl);
    buf_release(&tls->unsent);
    free(tls);
    transport->state = NULL;
    transport->unsent_bytes = 0;
    (void)close(transport->fd);
    transport->fd = -1;
}

static const struct transport_ops tls_ops = {tls_readv, tls_writev, tls_send_file, tls_close};

void tls_transport_begin(struct transport *transport, struct tls_io *io, enum tls_role role)
{
    struct tls_state *tls = xcalloc(1, sizeof *tls);
    tls->io = io;
    tls->role = role;
    transport->ops = &tls_ops;
    transport->state = tls;
    transport->encrypted = true;
    transport->handshaking = true;
}
