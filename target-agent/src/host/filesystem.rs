//! Space on each local file system.

use std::collections::HashSet;

use rustix::fs::{StatVfs, statvfs};

use super::Trouble;
use super::page::Page;
use super::system::System;

/// Kinds that hold no data of their own; node_exporter leaves them out, too.
const PSEUDO: [&str; 25] = [
    "autofs",
    "binfmt_misc",
    "bpf",
    "cgroup",
    "cgroup2",
    "configfs",
    "debugfs",
    "devpts",
    "devtmpfs",
    "erofs",
    "fusectl",
    "hugetlbfs",
    "iso9660",
    "mqueue",
    "nsfs",
    "overlay",
    "proc",
    "procfs",
    "pstore",
    "rpc_pipefs",
    "securityfs",
    "selinuxfs",
    "squashfs",
    "sysfs",
    "tracefs",
];
/// Kinds behind which there is a network or another process, either of which can hang whoever asks.
const REMOTE: [&str; 20] = [
    "9p",
    "afs",
    "beegfs",
    "ceph",
    "cifs",
    "coda",
    "fuse",
    "gfs",
    "gfs2",
    "glusterfs",
    "lustre",
    "ncpfs",
    "nfs",
    "nfs4",
    "ocfs2",
    "orangefs",
    "smb3",
    "smbfs",
    "virtiofs",
    "vboxsf",
];
/// Folders in which nothing is a device's own storage; node_exporter leaves them out, too.
const PLACES: [&str; 4] = ["/dev", "/proc", "/sys", "/run/credentials"];
/// Folders in which other programs mount what belongs to containers.
const CONTAINERS: [&str; 2] = ["/var/lib/docker/", "/var/lib/containers/storage/"];

/// What is told of each: name, help, number.
type Size = (&'static str, &'static str, fn(&StatVfs) -> f64);

const SIZES: [Size; 5] = [
    ("node_filesystem_avail_bytes", "Filesystem space available to non-root users in bytes.", |stat| {
        bytes(stat, stat.f_bavail)
    }),
    ("node_filesystem_files", "Filesystem total file nodes.", |stat| stat.f_files as f64),
    ("node_filesystem_files_free", "Filesystem total free file nodes.", |stat| stat.f_ffree as f64),
    ("node_filesystem_free_bytes", "Filesystem free space in bytes.", |stat| bytes(stat, stat.f_bfree)),
    ("node_filesystem_size_bytes", "Filesystem size in bytes.", |stat| bytes(stat, stat.f_blocks)),
];

fn bytes(stat: &StatVfs, blocks: u64) -> f64 {
    blocks as f64 * stat.f_frsize as f64
}

/// A line of `/proc/self/mountinfo`. Procfs leaves blanks in it as they are written there.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Mount {
    /// The file system's number, whatever is mounted of it.
    number: String,
    /// What of the file system is mounted: all of it, or a folder.
    root: String,
    place: String,
    device: String,
    kind: String,
    /// Whether nobody can write to it here.
    readonly: bool,
    /// Whether nobody can write to it anywhere.
    readonly_everywhere: bool,
}

impl Mount {
    fn of(line: &str) -> Option<Self> {
        let (here, everywhere) = line.split_once(" - ")?;
        let mut here = here.split(' ').skip(2).map(unescaped);
        let (number, root, place, options) = (here.next()?, here.next()?, here.next()?, here.next()?);
        let mut everywhere = everywhere.split(' ').map(unescaped);
        let (kind, device) = (everywhere.next()?, everywhere.next()?);
        let is_readonly = |options: &str| options.split(',').any(|option| option == "ro");
        let readonly_everywhere = is_readonly(&everywhere.next()?);
        let readonly = readonly_everywhere || is_readonly(&options);
        Some(Self { number, root, place, device, kind, readonly, readonly_everywhere })
    }

    /// True if it is a folder of a file system of which `other` is more.
    fn is_folder_of(&self, other: &Self) -> bool {
        let is_less = other.root == "/" || is_in(&self.root, &other.root);
        self.number == other.number && self.root != other.root && is_less
    }
}

/// What the device's mounts are, as far as this process can know it.
///
/// A service of systemd's with `ProtectSystem=strict` has mounts of its own: all can be read only, and a few
/// folders are mounted once more to be written to or to be kept from it. Those are of its own making, and
/// what is read only is so only if it is everywhere.
fn of_the_device(mounts: Vec<Mount>) -> Vec<Mount> {
    if !mounts.iter().any(|mount| mount.place == "/" && mount.readonly && !mount.readonly_everywhere) {
        return mounts;
    }
    let own: Vec<_> =
        mounts.iter().map(|mount| mounts.iter().any(|other| mount.is_folder_of(other))).collect();
    let others = mounts.into_iter().zip(own).filter(|(_, own)| !own);
    others.map(|(mount, _)| Mount { readonly: mount.readonly_everywhere, ..mount }).collect()
}

/// Letters that would end a field are written as a backslash and three octal digits.
fn unescaped(field: &str) -> String {
    let mut parts = field.split('\\');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (digits, rest) = part.split_at(part.floor_char_boundary(3));
        match u8::from_str_radix(digits, 8) {
            Ok(letter) if digits.len() == 3 && letter.is_ascii() => text.extend([char::from(letter)]),
            _ => text.extend(["\\", digits]),
        }
        text.push_str(rest);
    }
    text
}

/// A file system that was asked.
struct Asked<'a> {
    mount: &'a Mount,
    answer: Option<StatVfs>,
}

impl Asked<'_> {
    fn labels(&self) -> [(&str, &str); 3] {
        let Mount { device, place, kind, .. } = self.mount;
        [("device", device), ("fstype", kind), ("mountpoint", place)]
    }
}

/// Every local file system that this process sees.
pub(super) fn mounted(system: &System, page: &mut Page) -> Result<(), Trouble> {
    let text = system.text("proc/self/mountinfo")?;
    let mounts = of_the_device(text.lines().filter_map(Mount::of).collect());
    let asked = local(&mounts).into_iter().map(|mount| Asked { mount, answer: statvfs(&*mount.place).ok() });
    let asked: Vec<_> = asked.collect();
    for (name, help, size) in SIZES {
        let mut family = page.gauge(name, help);
        for one in &asked {
            if let Some(answer) = &one.answer {
                family.sample(&one.labels(), size(answer));
            }
        }
    }
    let help = "Whether an error occurred while getting statistics for the given device.";
    let mut errors = page.gauge("node_filesystem_device_error", help);
    for one in &asked {
        errors.sample(&one.labels(), u8::from(one.answer.is_none()).into());
    }
    let mut readonly = page.gauge("node_filesystem_readonly", "Filesystem read-only status.");
    for one in asked.iter().filter(|one| one.answer.is_some()) {
        readonly.sample(&one.labels(), u8::from(one.mount.readonly).into());
    }
    Ok(())
}

/// Those that can be asked without waiting for a network, each once.
fn local(mounts: &[Mount]) -> Vec<&Mount> {
    let remote: Vec<_> = mounts.iter().filter(|mount| is_remote(mount)).map(|mount| &*mount.place).collect();
    // The way to a mount point must not lead through a remote one, which would hang as well.
    let is_behind = |place: &str| remote.iter().any(|remote| *remote != "/" && is_in(place, remote));
    let mut seen = HashSet::new();
    mounts
        .iter()
        .filter(|mount| !PSEUDO.contains(&&*mount.kind) && !is_remote(mount))
        .filter(|mount| !PLACES.iter().any(|place| is_in(&mount.place, place)))
        .filter(|mount| !CONTAINERS.iter().any(|place| mount.place.starts_with(place)))
        .filter(|mount| !is_behind(&mount.place))
        .filter(|mount| seen.insert((&mount.device, &mount.kind, &mount.place)))
        .collect()
}

fn is_remote(mount: &Mount) -> bool {
    REMOTE.contains(&&*mount.kind) || mount.kind.starts_with("fuse.")
}

fn is_in(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_local_file_systems_are_asked() {
        let text = "\
1 0 8:1 / / ro,noatime - ext4 /dev/root ro
2 1 0:1 / /proc rw - proc proc rw
3 1 0:2 / /run rw - tmpfs tmpfs rw
4 1 0:2 / /run rw - tmpfs tmpfs rw
5 1 0:3 / /mnt/nas rw - nfs4 nas:/a rw
6 1 8:2 / /mnt/nas/usb rw - vfat /dev/sda1 rw
7 1 8:3 / /mnt/nas-backup rw shared:7 master:2 - vfat /dev/sda2 rw
8 1 0:4 / /home/me/there rw - fuse.sshfs me@host: rw
9 1 8:4 / /media/my\\040stick rw - fuseblk /dev/sdb1 rw
10 1 0:5 / /var/lib/docker/overlay2/x/merged rw - overlay overlay rw
11 1 7:1 / /snap/core/1 ro - squashfs /dev/loop0 ro
12 1 0:6 / /dev/x rw - devtmpfs udev rw
13 1 0:7 / /dev/shm rw - tmpfs tmpfs rw
14 1 0:8 / /devices ro - tmpfs tmpfs rw
15 1 8:5 / /var/lib/docker/volumes/x rw - ext4 /dev/sdc1 rw
";
        let mounts = of_the_device(text.lines().filter_map(Mount::of).collect());
        let asked: Vec<_> = local(&mounts).into_iter().map(|mount| &*mount.place).collect();
        assert_eq!(asked, ["/", "/run", "/mnt/nas-backup", "/media/my stick", "/devices"]);
        let readonly: Vec<_> =
            mounts.iter().filter(|mount| mount.readonly).map(|mount| &*mount.place).collect();
        assert_eq!(readonly, ["/", "/snap/core/1", "/devices"]);
        for (written, meant) in [(r"a\040b\134040\011", "a b\\040\t"), (r"\9\é\04", r"\9\é\04"), ("ä", "ä")]
        {
            assert_eq!(unescaped(written), meant);
        }
    }

    #[test]
    fn what_systemd_mounts_for_the_service_alone_is_not_the_devices() {
        let text = "\
1 0 8:1 /@ / ro,noatime - btrfs /dev/root rw
2 1 8:2 / /boot ro - vfat /dev/boot ro
3 1 8:1 /@home /home ro - btrfs /dev/root rw
4 1 0:2 / /run ro - tmpfs tmpfs rw
5 1 8:1 /@/var/lib/onionscrape-agent /var/lib/onionscrape-agent rw - btrfs /dev/root rw
6 1 8:1 /@/tmp/systemd-private-1/tmp /tmp rw - btrfs /dev/root rw
7 1 0:2 /systemd/inaccessible/dir /root ro - tmpfs tmpfs rw
";
        let mounts = of_the_device(text.lines().filter_map(Mount::of).collect());
        let told: Vec<_> = mounts.iter().map(|mount| (&*mount.place, mount.readonly)).collect();
        assert_eq!(told, [("/", false), ("/boot", true), ("/home", false), ("/run", false)]);
    }
}
