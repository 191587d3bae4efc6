#!/usr/bin/env bash
# Installs what l7proxy and its tests need: Debian packages, and a virtual environment in .venv.
#
# A second run finds everything in place and returns at once. Where packages cannot be installed
# (not root, not Debian) it says which are missing and goes on if the environment can be made.
# `setup.sh compat`, `faults`, `fuzz` or `transparency` installs too what only the make target of that
# name needs (fuzz: fuzz-parsers).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
PATH="$PATH:/usr/sbin:/sbin"

wanted=${1:-}
venv=.venv
stamp=$venv/.l7proxy-setup
policy_rc=/usr/sbin/policy-rc.d

say() { printf 'setup: %s\n' "$*"; }
fail() { printf 'setup: %s\n' "$*" >&2; exit 1; }

# bcc's Python bindings exist only for the distribution's own interpreter.
find_python() {
    python=/usr/bin/python3
    [ -x "$python" ] || python=$(command -v python3 || echo python3)
}

# One "package:what is without it" line for each missing package.
missing_packages() {
    "$python" -c 'import ensurepip, venv' 2>/dev/null ||
        echo "python3-venv:the virtual environment cannot be made"
    "$python" -c 'import bcc' 2>/dev/null ||
        echo "python3-bpfcc:no eBPF, userspace mode only"
    ldconfig -p | grep -F libbpf.so.1 >/dev/null || echo "libbpf1:no eBPF, userspace mode only"
    [ -e /usr/include/linux/in.h ] || echo "linux-libc-dev:no eBPF, userspace mode only"
    command -v nginx >/dev/null || echo "nginx-light:demo and tests without nginx"
    command -v ip >/dev/null || echo "iproute2:no network namespaces"
    command -v curl >/dev/null || echo "curl:demo and tests without curl"
    command -v wrk >/dev/null || echo "wrk:no benchmarks"
    command -v haproxy >/dev/null || echo "haproxy:benchmarks without HAProxy"
    command -v node >/dev/null || echo "nodejs:tests without Node.js"
    command -v chromium >/dev/null || echo "chromium:tests without a browser"
    command -v prometheus >/dev/null || echo "prometheus:tests without Prometheus"
    [ -e /etc/ssl/certs/ca-certificates.crt ] || echo "ca-certificates:pip cannot check servers"
    if [ "$wanted" = faults ]; then
        compgen -G '/usr/lib/*/faketime/libfaketimeMT.so.1' >/dev/null ||
            echo "faketime:trial of faults without one that sets the clock"
    fi
    [ "$wanted" != transparency ] ||
        "$python" -c 'import importlib.util as u; exit(not u.find_spec("test.test_socket"))' ||
        echo "libpython3.11-testsuite:transparency without CPython's own tests"
    [ "$wanted" = compat ] || return 0
    command -v apache2 >/dev/null || echo "apache2-bin:compatibility matrix without Apache"
    command -v ab >/dev/null || echo "apache2-utils:compatibility matrix without ab"
    command -v h2load >/dev/null || echo "nghttp2-client:compatibility matrix without h2load"
    command -v wget >/dev/null || echo "wget:compatibility matrix without wget"
    command -v javac >/dev/null ||
        echo "openjdk-17-jdk-headless:compatibility matrix without Java"
}

names_of() { cut -d: -f1 <<<"$1" | xargs; }

# Installing nginx, HAProxy or Prometheus starts it as a service. While packages are being
# installed, policy-rc.d tells Debian's maintainer scripts to start nothing; afterwards the
# machine's own file is back.
forbid_services() {
    if [ -e "$policy_rc" ] && [ ! -e "$policy_rc.l7proxy-saved" ]; then
        mv "$policy_rc" "$policy_rc.l7proxy-saved"
    fi
    trap restore_services EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    printf '#!/bin/sh\n# l7proxy setup\nexit 101\n' >"$policy_rc"
    chmod 755 "$policy_rc"
}

restore_services() {
    grep -qs '^# l7proxy setup' "$policy_rc" && rm -f "$policy_rc"
    [ ! -e "$policy_rc.l7proxy-saved" ] || mv "$policy_rc.l7proxy-saved" "$policy_rc"
}

apt_install() {
    DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 \
        install -y --no-install-recommends "$@" </dev/null >/dev/null
}

install_packages() {
    say "installing Debian packages: $*"
    forbid_services
    # The package lists may be absent (a fresh image) or too old to fetch from.
    if ! apt_install "$@" 2>/dev/null; then
        say "refreshing the package lists"
        apt-get -qq update || true
        apt_install "$@" || true
    fi
    restore_services
    trap - EXIT INT TERM
    # Only started by hand, by the demo, the tests and the benchmarks; never at boot.
    case " $* " in *" nginx-light "*) update-rc.d nginx disable >/dev/null 2>&1 || true ;; esac
    case " $* " in *" haproxy "*) update-rc.d haproxy disable >/dev/null 2>&1 || true ;; esac
    case " $* " in *" prometheus "*) update-rc.d prometheus disable >/dev/null 2>&1 || true ;; esac
}

packages() {
    local lines names
    lines=$(missing_packages)
    [ -n "$lines" ] || return 0
    names=$(names_of "$lines")
    if [ ! -e /etc/debian_version ] || ! command -v apt-get >/dev/null; then
        say "not Debian: install what your distribution calls these packages: $names"
    elif [ "$(id -u)" != 0 ]; then
        say "not root, so these packages stay missing; as root run: apt-get install $names"
    else
        # shellcheck disable=SC2086  # a list of names
        install_packages $names
        find_python
        lines=$(missing_packages)
        [ -n "$lines" ] || return 0
        say "could not install all packages; run: apt-get install $(names_of "$lines")"
    fi
    sed 's/^\([^:]*\):/setup:   without \1: /' <<<"$lines"
    ! grep -q '^python3-venv:' <<<"$lines" || fail "cannot go on without python3-venv"
}

# What the environment is made from; when it changes, the environment is brought up to date.
fingerprint() {
    printf '%s\n%s\n' "$PWD" "$("$python" -c 'import sys; print(sys.version)')"
    sha256sum pyproject.toml
}

# Whole: interpreter and pip run, and it was made at this place, by this interpreter.
venv_is_whole() {
    "$venv/bin/python" - "$PWD/$venv" "$("$python" -c 'import sys; print(sys.version)')" \
        2>/dev/null <<-'CHECK'
		import sys, pathlib, pip
		assert sys.prefix == sys.argv[1] and sys.version == sys.argv[2]
		config = pathlib.Path(sys.prefix, "pyvenv.cfg").read_text()
		assert "include-system-site-packages = true" in config
		script = pathlib.Path(sys.prefix, "bin", "pip").read_text()
		assert script.startswith("#!" + sys.prefix)
	CHECK
}

environment() {
    local extras=dev modules='l7proxy, pytest, mypy, ruff'
    [ "$wanted" != fuzz ] || { extras=dev,fuzz modules="$modules, atheris"; }
    if [ -e "$stamp" ] && [ "$(cat "$stamp")" = "$(fingerprint)" ] &&
        "$venv/bin/python" -c "import $modules" 2>/dev/null; then
        return 0
    fi
    if ! venv_is_whole; then
        say "making the virtual environment $venv"
        rm -rf "$venv"
        "$python" -m venv --system-site-packages "$venv" || fail "could not make $venv"
    fi
    say "installing Python packages into $venv"
    rm -f "$stamp"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check \
        --root-user-action=ignore -e ".[$extras]" || fail "pip could not install l7proxy into $venv"
    fingerprint >"$stamp"
}

# One set-up at a time in one checkout; the lock is the folder itself.
if command -v flock >/dev/null; then
    exec 9<scripts
    flock 9
fi
find_python
packages
find_python
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null ||
    fail "Python 3.11 or newer is needed, and $python is not that"
environment
