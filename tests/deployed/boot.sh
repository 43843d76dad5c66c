# Becomes the first process of a machine. Run in new namespaces of every kind but users, in the machine's
# control group: sh boot.sh NAME TREE FOLDER
set -eu
name=$1 tree=$2 folder=$3
mount --make-rprivate /
mount -t overlay overlay -o "lowerdir=$tree,upperdir=$folder/upper,workdir=$folder/work" "$folder/root"
cd "$folder/root"
hostname "$name"
echo "$name" > etc/hostname
printf '127.0.0.1 localhost\n127.0.1.1 %s\n' "$name" > etc/hosts
rm -f etc/machine-id
: > etc/machine-id
mount -t proc proc proc
# What is read only can be neither set nor harmed for the machine around this one.
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs tmpfs tmp
mount -t tmpfs -o mode=755 tmpfs dev
for device in null zero full random urandom tty; do
    : > dev/$device
    mount --bind /dev/$device dev/$device
done
mkdir dev/shm dev/pts mnt/old
mount -t tmpfs tmpfs dev/shm
mount -t devpts -o newinstance,ptmxmode=666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
# Neither terminals, nor what a system does to itself at times, nor modules of a kernel that is not its own.
mkdir -p etc/systemd/journald.conf.d
printf '[Journal]\nStorage=volatile\n' > etc/systemd/journald.conf.d/volatile.conf
for unit in getty.target timers.target systemd-modules-load.service; do
    ln -sf /dev/null etc/systemd/system/$unit
done
# Not chroot: the kernel refuses user namespaces to what is in one, and PrivateUsers= needs them.
pivot_root . mnt/old
exec env -i container=onionscrape PATH=/usr/sbin:/usr/bin:/sbin:/bin sh -c '
    umount -l /mnt/old
    # What is mounted for a service, such as its credentials, has to be seen by the others.
    mount --make-rshared /
    exec /lib/systemd/systemd --show-status=0 --unit=multi-user.target'
