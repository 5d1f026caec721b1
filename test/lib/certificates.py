#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Certificates for tests, by the program openssl: an authority and what it signs, as files in PEM
form, FOLDER/NAME.cert and FOLDER/NAME.key (PKCS#8, as Java wants it).

As a program: certificates.py FOLDER makes an authority `ca`, `server` and `client` of it, and
`stranger`, an authority of its own.
"""
import os
import shutil
import subprocess
import sys


def usable():
    return shutil.which("openssl") is not None


def _openssl(*arguments):
    done = subprocess.run(["openssl", *arguments], capture_output=True, text=True)
    if done.returncode != 0:
        raise AssertionError(f"openssl {' '.join(arguments)}: {done.stderr}")


class Authority:
    """Signs certificates in a folder; its own is NAME.cert."""

    def __init__(self, folder, name="ca"):
        self.folder = folder
        self.name = name
        _openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                 "-keyout", self.path(name, "key"), "-out", self.path(name, "cert"), "-days", "30",
                 "-subj", f"/CN={name}")

    def path(self, name, ending):
        return os.path.join(self.folder, f"{name}.{ending}")

    def sign(self, name, password=None, rsa=False):
        """Make NAME.key and NAME.cert, replacing each by a rename."""
        kind = ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"] if rsa else \
            ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]
        fresh = self.path(name, "fresh")
        request = self.path(name, "request")
        lock = ["-aes256", "-pass", f"pass:{password}"] if password else []
        unlock = ["-passin", f"pass:{password}"] if password else []
        _openssl("genpkey", *kind, *lock, "-out", fresh)
        _openssl("req", "-new", "-key", fresh, *unlock, "-subj", f"/CN={name}", "-out", request)
        _openssl("x509", "-req", "-in", request, "-CA", self.path(self.name, "cert"), "-CAkey",
                 self.path(self.name, "key"), "-CAcreateserial", "-days", "30", "-out",
                 self.path(name, "signed"))
        os.rename(fresh, self.path(name, "key"))
        os.rename(self.path(name, "signed"), self.path(name, "cert"))
        os.unlink(request)


def main():
    authority = Authority(sys.argv[1])
    authority.sign("server", rsa=True)
    authority.sign("client")
    Authority(sys.argv[1], "stranger")


if __name__ == "__main__":
    main()
