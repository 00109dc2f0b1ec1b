# Becomes a container's process: container.sh ROOT USER:GROUP GROUPS ro|rw MOUNT... -- PROGRAM ARGUMENT...
# A MOUNT is SOURCE:TARGET:ro|rw. Runs in a mount namespace of its own; the root has the mounts, the
# libraries that a dynamic program loads, and nothing else: no shell, as in the real image.
set -euo pipefail
root=$1 owner=$2 groups=$3 mode=$4
shift 4
mount -t tmpfs -o mode=755 container "$root"

place() {
  if [ -d "$1" ]; then
    mkdir -p "$root$2"
  else
    mkdir -p "$(dirname "$root$2")"
    : >"$root$2"
  fi
  mount --bind "$1" "$root$2"
  if [ "$3" = ro ]; then mount -o remount,bind,ro "$root$2"; fi
}

mkdir -p "$root/proc" "$root/tmp"
mount --rbind /proc "$root/proc"
for shared in /dev/null /dev/zero /dev/urandom /dev/random /lib /lib64 /usr/lib /etc/ssl/certs /usr/share/ca-certificates; do
  if [ -e "$shared" ]; then place "$shared" "$shared" rw; fi
done
while [ "$1" != -- ]; do
  IFS=: read -r source target access <<<"$1"
  place "$source" "$target" "$access"
  shift
done
shift
if [ "$mode" = ro ]; then mount -o remount,ro "$root"; fi
exec setpriv --no-new-privs chroot --userspec="$owner" --groups="$groups" "$root" "$@"
