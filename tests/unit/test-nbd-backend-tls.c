// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/* TLS or nothing: keys and certificates are made here, by openssl. */
#include "tests/unit/nbd-fixture.h"

#include <errno.h>

TestSuite(device_nbd_tls, .init = fixture_setup, .fini = nbd_teardown);

static const char *secret_uri(void)
{
    static char text[300];

    snprintf(text, sizeof text, "nbds+unix://alice@/?socket=%s", at("s"));
    return text;
}

static void make_keys(const char *name)
{
    sh("echo alice:$(openssl rand -hex 32) >%s", name);
}

static void make_certificates(const char *dir, const char *host)
{
    sh("mkdir %s && cd %s && openssl req -x509 -newkey rsa:2048 -nodes -days 2 "
       "-subj /CN=ca -keyout ca-key.pem -out ca-cert.pem 2>/dev/null && "
       "openssl req -newkey rsa:2048 -nodes -subj /CN=%s -keyout "
       "server-key.pem -out server.csr 2>/dev/null && "
       "echo subjectAltName=DNS:%s >ext && "
       "openssl x509 -req -in server.csr -CA ca-cert.pem -CAkey ca-key.pem "
       "-CAcreateserial -days 2 -extfile ext -out server-cert.pem 2>/dev/null",
       dir, dir, host, host);
}

static struct bm_open with_keys(const char *psk)
{
    return (struct bm_open){.connect_ms = 2000, .tls_psk = psk, .queues = 2};
}

static struct bm_open with_certificates(const char *dir)
{
    return (struct bm_open){.connect_ms = 2000, .tls_certificates = dir};
}

static int try_open(const char *where, struct bm_open how)
{
    return bm_device_nbd_open(where, &how, &dev, &err);
}

#define KEYED                                                                  \
    "exec nbdkit -f -U $PWD/s --tls=require --tls-psk=$PWD/keys pattern 1M"

Test(device_nbd_tls, shared_key)
{
    make_keys("keys");
    serve(KEYED);
    ok(try_open(secret_uri(), with_keys("keys")), err);
    cr_expect_eq(dev->queues, 2);
    ok(bm_device_pread(dev, 1, buf, 1 << 20, 0, &err), err);
    expect_pattern(0, 1 << 20);
}

Test(device_nbd_tls, connection_is_made_again_with_the_key)
{
    make_keys("keys");
    serve(KEYED);
    ok(try_open(secret_uri(), with_keys("keys")), err);
    bm_process_end(&server, 0);
    sh("rm s");
    serve(KEYED);
    ok(bm_device_pread(dev, 0, buf, 65536, 0, &err), err);
    expect_pattern(0, 65536);
}

Test(device_nbd_tls, wrong_key_is_refused)
{
    make_keys("keys");
    make_keys("others");
    serve(KEYED);
    cr_expect_lt(try_open(secret_uri(), with_keys("others")), 0);
}

Test(device_nbd_tls, plain_server_is_refused)
{
    make_keys("keys");
    serve("exec nbdkit -f -U $PWD/s pattern 1M");
    cr_expect_lt(try_open(secret_uri(), with_keys("keys")), 0);
    cr_expect(strstr(err.cause, "TLS"), "%s", err.cause);
}

Test(device_nbd_tls, plain_server_is_refused_when_only_keys_say_so)
{
    make_keys("keys");
    serve("exec nbdkit -f -U $PWD/s pattern 1M");
    cr_expect_lt(try_open(uri(), with_keys("keys")), 0);
}

Test(device_nbd_tls, plain_client_is_refused)
{
    make_keys("keys");
    serve(KEYED);
    cr_expect_lt(try_open(uri(), with_keys(NULL)), 0);
}

Test(device_nbd_tls, a_uri_names_no_file_of_ours)
{
    char text[400];

    make_keys("keys");
    serve(KEYED);
    snprintf(text, sizeof text, "%s&tls-psk-file=%s", secret_uri(), at("keys"));
    cr_expect_lt(try_open(text, with_keys(NULL)), 0);
}

/* With a port of its own: a certificate is for a host's name. */
static const char *serve_certificates(const char *dir)
{
    static char text[64];
    int port = 20000 + getpid() % 20000;
    char command[400];

    snprintf(command, sizeof command,
             "exec nbdkit -f -i 127.0.0.1 -p %d -P $PWD/pid --tls=require "
             "--tls-certificates=$PWD/%s pattern 1M",
             port, dir);
    server_start(&server, command, "test -s pid");
    snprintf(text, sizeof text, "nbds://localhost:%d", port);
    return text;
}

Test(device_nbd_tls, certificates)
{
    make_certificates("pki", "localhost");
    ok(try_open(serve_certificates("pki"), with_certificates("pki")), err);
    ok(bm_device_pread(dev, 0, buf, 65536, 0, &err), err);
    expect_pattern(0, 65536);
}

Test(device_nbd_tls, certificate_of_another_host_is_refused)
{
    make_certificates("pki", "elsewhere");
    cr_expect_lt(try_open(serve_certificates("pki"), with_certificates("pki")),
                 0);
    cr_expect(strstr(err.cause, "certificate"), "%s", err.cause);
}

Test(device_nbd_tls, certificate_of_another_authority_is_refused)
{
    make_certificates("pki", "localhost");
    make_certificates("other", "localhost");
    cr_expect_lt(
        try_open(serve_certificates("pki"), with_certificates("other")), 0);
    cr_expect(strstr(err.cause, "certificate"), "%s", err.cause);
}

/* Without a list of authorities libnbd would take any certificate. */
Test(device_nbd_tls, without_authorities_nobody_is_trusted)
{
    const char *where;

    make_certificates("pki", "localhost");
    where = serve_certificates("pki");
    cr_expect_eq(try_open(where, with_certificates("missing")), -ENOENT);
    cr_expect(strstr(err.cause, "ca-cert.pem"), "%s", err.cause);
    sh("mkdir empty");
    cr_expect_eq(try_open(where, with_certificates("empty")), -ENOENT);
    cr_expect_eq(try_open(where, with_certificates(NULL)), -EACCES);
}

/* A socket has no host name that a certificate could be for. */
Test(device_nbd_tls, certificates_do_not_serve_a_socket)
{
    char text[300];

    make_certificates("pki", "localhost");
    serve("exec nbdkit -f -U $PWD/s --tls=require "
          "--tls-certificates=$PWD/pki pattern 1M");
    snprintf(text, sizeof text, "nbds+unix://localhost/?socket=%s", at("s"));
    cr_expect_eq(try_open(text, with_certificates("pki")), -EACCES);
}
