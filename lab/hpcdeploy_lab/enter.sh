# Run by unshare(1) in new mount, PID, host name and IPC namespaces: create the lab's root and become its init.
# $1: root file system (shared, never written), $2: the lab's state folder, $3: host name, $4: number of simulated GPUs
set -eu
# mount, mknod and pivot_root must be found also if the caller's PATH has no sbin folder, as an ordinary user's PATH.
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH
umask 022
# The caller writes "go" after it has recorded this process. If the caller dies before that, end without any change.
read -r word && test "$word" = go || exit 1
hostname "$3"
cd "$2"
mount --bind "$1" lower
mount -t overlay overlay -o lowerdir=lower,upperdir=upper,workdir=work root
cd root
mkdir -p lab home scratch tmp var/lib/docker-registry
mount -t proc -o nosuid,nodev,noexec proc proc
mount -t sysfs -o nosuid,nodev,noexec,ro sysfs sys
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=755,size=1m tmpfs dev
device() { mknod -m "$2" "dev/$1" c "$3" "$4"; }
device null 666 1 3
device zero 666 1 5
device full 666 1 7
device random 666 1 8
device urandom 666 1 9
device tty 666 5 0
device fuse 666 10 229 # squashfuse runs as the ordinary user
number=0
while [ "$number" -lt "$4" ]; do
    device "pretend-gpu$number" 666 1 3
    number=$((number + 1))
done
ln -s /proc/self/fd dev/fd
ln -s fd/0 dev/stdin
ln -s fd/1 dev/stdout
ln -s fd/2 dev/stderr
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts dev/pts
ln -s pts/ptmx dev/ptmx
mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs dev/shm
mount --bind "$2/inside" lab
mount --bind "$2/home" home
mount --bind "$2/scratch" scratch
mount --bind "$2/tmp" tmp
mount --bind "$2/registry" var/lib/docker-registry
cp -R --no-preserve=ownership "$2/files/." .
# Apptainer rejects a plain chroot ("weak chrooted environment, prefer pivot_root").
pivot_root . mnt
cd /
umount -l mnt
exec env -i PATH="$PATH" LANG=C.UTF-8 \
    /usr/bin/python3 /lab/init.py /lab/plan.json
