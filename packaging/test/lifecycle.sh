#!/bin/bash
# The life of the Debian package under a real systemd: installed, started, reloaded, hung, upgraded, activated by a socket, removed
# and purged. Arguments: the package, and a newer one. Stops at the first step that fails.
set -euo pipefail
old=$1 new=$2
export DEBIAN_FRONTEND=noninteractive

step() { printf '\n== %s\n' "$*"; }
fail() { echo "FAILED: $*"; systemctl status --no-pager --full joey || true; journalctl -u joey --no-pager | tail -20; exit 1; }
property() { systemctl show --property "$1" --value joey; }
page() { curl --silent --show-error --fail --max-time 20 "http://127.0.0.1:4000$1"; }
# Waits up to 30 s until a command succeeds.
eventually() { for _ in $(seq 300); do "$@" && return; sleep 0.1; done; fail "never: $*"; }

step install
dpkg --install "$old"
[ "$(property ActiveState)" = active ] || fail "the service is not active after the installation"
[ "$(systemctl is-enabled joey)" = enabled ] || fail "the service is not enabled"
[ "$(systemctl is-enabled joey-http.socket)" = disabled ] || fail "a socket is enabled"
first=$(property MainPID)
[ "$(stat --format %U "/proc/$first")" = joey ] || fail "it does not run as its user"
[ "$(grep CapEff "/proc/$first/status" | cut -f 2)" = 0000000000000400 ] || fail "it has other rights than to bind low ports"
[ "$(page /readyz)" = ok ] || fail "it is not ready although systemd says so"
page / | grep --quiet 'joey-ui-.*\.js' || fail "the page is not in the program"
joey --version
[ -s /usr/share/man/man1/joey-serve.1.gz ] || fail "there is no man page"
# shellcheck disable=SC1091
( . /usr/share/bash-completion/completions/joey; complete -p joey ) >/dev/null || fail "the completions do not load"

step reload
systemctl reload joey
has_reloaded() { journalctl --quiet -u joey --grep 'reloaded keys' >/dev/null; }
eventually has_reloaded
[ "$(property MainPID)" = "$first" ] || fail "a reload restarted it"

step 'an invalid configuration'
cp /etc/joey/joey.toml /tmp/joey.toml
echo 'no_such_option = 1' >>/etc/joey/joey.toml
systemctl restart joey && fail "it starts with an unknown option"
journalctl --quiet -u joey --grep no_such_option >/dev/null || fail "the log does not name the option"
cp /tmp/joey.toml /etc/joey/joey.toml
systemctl reset-failed joey
systemctl start joey

step watchdog
mkdir -p /run/systemd/system/joey.service.d
printf '[Service]\nWatchdogSec=2\nRestartSec=0\n' >/run/systemd/system/joey.service.d/test.conf
systemctl daemon-reload
systemctl restart joey
hung=$(property MainPID)
sleep 5
[ "$(property MainPID)" = "$hung" ] || fail "systemd restarted a relay that works"
kill -STOP "$hung"
is_replaced() { [ "$(property MainPID)" != "$hung" ] && [ "$(property ActiveState)" = active ]; }
eventually is_replaced
rm -r /run/systemd/system/joey.service.d
systemctl daemon-reload

step upgrade
echo '# edited by the administrator' >>/etc/joey/joey.toml
before=$(property MainPID)
dpkg --install "$new"
[ "$(property MainPID)" != "$before" ] || fail "the old program runs after the upgrade"
[ "$(property ActiveState)" = active ] || fail "the service is not active after the upgrade"
grep --quiet 'edited by the administrator' /etc/joey/joey.toml || fail "the upgrade replaced the configuration"
[ "$(page /readyz)" = ok ] || fail "it is not ready after the upgrade"

step 'socket activation'
systemctl stop joey
systemctl start joey-http.socket joey-ingest.socket
[ "$(property ActiveState)" = inactive ] || fail "the sockets started it"
[ "$(page /readyz)" = ok ] || fail "a connection did not start it"
[ "$(property ActiveState)" = active ] || fail "it answers but is not active"
# No connection is refused while it restarts.
systemctl restart --no-block joey
for _ in $(seq 50); do
    page /readyz >/dev/null || fail "a connection failed during a restart"
done
is_active() { [ "$(property ActiveState)" = active ]; }
eventually is_active

step remove
dpkg --remove joey
[ "$(systemctl show --property ActiveState --value joey)" = inactive ] || fail "it runs after its removal"
[ -f /etc/joey/joey.toml ] || fail "the removal deleted the configuration"
pgrep --exact joey && fail "a process is left"

step purge
dpkg --purge joey
for left in /etc/joey /var/lib/joey /usr/bin/joey /usr/lib/systemd/system/joey.service /lib/systemd/system/joey.service; do
    [ ! -e "$left" ] || fail "$left is left"
done
[ -z "$(find /etc /var/lib/systemd -name '*joey*' -not -name 'joey-test*')" ] || fail "$(find /etc /var/lib/systemd -name '*joey*')"
[ -z "$(systemctl --failed --no-legend)" ] || fail "$(systemctl --failed --no-legend)"

step install again
dpkg --install "$new"
[ "$(property ActiveState)" = active ] || fail "the service is not active after another installation"
dpkg --purge joey
echo 'all steps passed'
