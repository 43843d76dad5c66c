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

/// A line of `/proc/self/mounts`. Procfs leaves blanks in it as they are written there.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Mount {
    device: String,
    place: String,
    kind: String,
    readonly: bool,
}

impl Mount {
    fn of(line: &str) -> Option<Self> {
        let mut fields = line.split(' ').map(unescaped);
        let (device, place, kind) = (fields.next()?, fields.next()?, fields.next()?);
        let readonly = fields.next()?.split(',').any(|option| option == "ro");
        Some(Self { device, place, kind, readonly })
    }
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
    let text = system.text("proc/self/mounts")?;
    let mounts: Vec<_> = text.lines().filter_map(Mount::of).collect();
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
/dev/root / ext4 ro,noatime 0 0
proc /proc proc rw 0 0
tmpfs /run tmpfs rw 0 0
tmpfs /run tmpfs rw 0 0
nas:/a /mnt/nas nfs4 rw 0 0
/dev/sda1 /mnt/nas/usb vfat rw 0 0
/dev/sda2 /mnt/nas-backup vfat rw 0 0
me@host: /home/me/there fuse.sshfs rw 0 0
/dev/sdb1 /media/my\\040stick fuseblk rw 0 0
overlay /var/lib/docker/overlay2/x/merged overlay rw 0 0
/dev/loop0 /snap/core/1 squashfs ro 0 0
udev /dev/x devtmpfs rw 0 0
tmpfs /dev/shm tmpfs rw 0 0
tmpfs /devices tmpfs rw 0 0
/dev/sdc1 /var/lib/docker/volumes/x ext4 rw 0 0
";
        let mounts: Vec<_> = text.lines().filter_map(Mount::of).collect();
        let asked: Vec<_> = local(&mounts).into_iter().map(|mount| &*mount.place).collect();
        assert_eq!(asked, ["/", "/run", "/mnt/nas-backup", "/media/my stick", "/devices"]);
        let readonly: Vec<_> =
            mounts.iter().filter(|mount| mount.readonly).map(|mount| &*mount.place).collect();
        assert_eq!(readonly, ["/", "/snap/core/1"]);
        for (written, meant) in [(r"a\040b\134040\011", "a b\\040\t"), (r"\9\é\04", r"\9\é\04"), ("ä", "ä")]
        {
            assert_eq!(unescaped(written), meant);
        }
    }
}
