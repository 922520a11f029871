"""Have nginx take a file over, whole or not at all: by a step of a rollout, or by the server itself when nobody looks at a canary."""

from configs.settings import Settings
from deploy.targets.server_host import Host

CANARY = "# canary: "
"""In the file's head; see server_front."""
RELOAD_S, LOOKS_S = 10.0, 0.05


def switched_on(settings: Settings) -> str:
    """A file that is there if nginx was off before it got ours."""
    return f"{settings.rollout.server.root}/.nginx-was-off"


def put(host: Host, settings: Settings, text: str, unwatched: str = "") -> None:
    """In one go, since traffic waits for it. nginx is told also of a file that is there already, or gone: whoever did that may have
    been killed before. `unwatched`: the file for when nobody looks, if it is to end by itself.

    Raises:
        RolloutFailed: nginx refuses the file (that before is back), or does not take it over.
        EngineUnavailable: the machine does not answer.
    """
    given = [text.encode(), unwatched.encode()]
    script = _ALONE + _RECEIVE + _TAKE + _DISARM
    words = (*words_of(settings), switched_on(settings), *(str(len(part)) for part in given))
    host.run(["sh", "-euc", script, "sh", *words], b"".join(given))


def words_of(settings: Settings) -> tuple[str, str]:
    """$1 and $2 of the scripts below: nginx's file, and how often to look whether it took it over."""
    return settings.rollout.server.nginx, str(int(RELOAD_S / LOOKS_S))


# One at a time: a rollout's step, and the end of a share that nobody watches. The lock is the folder's, so nothing is left of it.
_ALONE = """
umask 022
exec 9<"$(dirname -- "$1")"
flock -w 30 9 || { echo "another process is changing $1" >&2; exit 1; }
"""
_RECEIVE = """
cat >"$1.came"
if [ "$5" -gt 0 ]; then
    tail -c "$5" "$1.came" >"$1.unwatched.new"
    mv -T -- "$1.unwatched.new" "$1.unwatched"
    systemctl restart tingsu-unwatched.timer
fi
head -c "$4" "$1.came" >"$1.new"
rm -f -- "$1.came"
"""
# A worker of before listens until its title says that it is shutting down. An address cannot be bound while a wider or a narrower one of
# the same port is: where addresses change all are closed first, for a moment.
_TAKE = """
back() {
    if [ -f "$1.before" ]; then mv -T -- "$1.before" "$1"; else rm -f -- "$1"; fi
    if systemctl -q is-active nginx && nginx -t -q 2>/dev/null; then systemctl reload nginx || :; fi
    echo "$2" >&2
    exit 1
}
reload() {
    old=$(pgrep -P "$(systemctl show nginx -p MainPID --value)" || :)
    systemctl reload nginx || back "$1" "nginx is not reloaded; see journalctl -u nginx"
    for worker in $old; do
        left=$2
        while [ -e "/proc/$worker" ] && ! grep -q 'shutting down' "/proc/$worker/cmdline" 2>/dev/null; do
            left=$((left - 1))
            [ "$left" -gt 0 ] || back "$1" "nginx did not take the file over; see its error.log"
            sleep 0.05
        done
    done
}
addresses() { sed -n 's/^ *listen //p' "$1"; }
rm -f -- "$1.before"
[ ! -f "$1" ] || cp -- "$1" "$1.before"
if [ -s "$1.new" ]; then mv -T -- "$1.new" "$1"; else rm -f -- "$1.new" "$1"; fi
said=$(nginx -t -q 2>&1) || back "$1" "$(printf '%s' "$said" | head -n 1)"
if systemctl -q is-active nginx; then
    if [ -f "$1" ] && [ -f "$1.before" ] && [ "$(addresses "$1")" != "$(addresses "$1.before")" ]; then
        mv -T -- "$1" "$1.new"
        reload "$1" "$2"
        mv -T -- "$1.new" "$1"
    fi
    reload "$1" "$2"
elif [ -f "$1" ] && [ -n "$3" ]; then
    systemctl -q is-enabled nginx || : >"$3"
    systemctl enable -q --now nginx || back "$1" "nginx does not start; see journalctl -u nginx"
fi
rm -f -- "$1.before"
"""
_DISARM = """
if [ "$5" -eq 0 ] && [ -f "$1.unwatched" ]; then
    rm -f -- "$1.unwatched"
    systemctl stop tingsu-unwatched.timer || :
fi
"""
# What nginx reads decides, not the timer: it may run out in the very moment in which a step gives the requests out anew, and that step
# may be killed before it has stopped it. A look may wind it up in that moment too: then it waits again. Not the rollout's lock: a
# controller that hangs holds it and looks no more. The same file again: this was killed before nginx had taken it over. nginx that
# was stopped ($3 is empty) stays so.
LAPSE = f"""#!/bin/sh
# Written by ./tingsu deploy. Run by tingsu-unwatched.timer when nobody has looked at a candidate for rollout.canary.unwatched_s.
{_ALONE.strip()}
[ -f "$1.unwatched" ] && [ "$(systemctl show tingsu-unwatched.timer -p SubState --value)" != waiting ] || exit 0
if grep -qx '{CANARY}watched' "$1" || cmp -s -- "$1" "$1.unwatched"; then
    cp -- "$1.unwatched" "$1.new"
    {_TAKE.strip().replace(chr(10), chr(10) + "    ")}
    echo "nobody looks at the candidate: its share ended"
fi
rm -f -- "$1.unwatched"
"""
