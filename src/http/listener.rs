//! Places to listen at: addresses of this machine, and socket files.

use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Gid, Mode, OFlags, chmod, chownat, openat};
use socket2::{Domain, SockAddr, Socket, Type};
use tokio::net::{TcpListener, UnixListener};

/// Longest path of a socket file, in bytes: the kernel's `sun_path` less its end (unix(7)).
pub const MAX_SOCKET_PATH: usize = 107;
/// Connections that wait to be accepted on a socket file; as many as tokio has for an address.
const BACKLOG: i32 = 1024;

/// A bound listener, TCP or Unix.
#[derive(Debug)]
pub enum Listener {
    /// On an address of this machine.
    Tcp(TcpListener),
    /// On a socket file, removed when the listener is dropped.
    Unix(UnixListener, SocketFile),
}

/// Who may connect to a socket file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketAccess {
    /// Permission bits; who may write may connect.
    pub mode: u32,
    /// The group's number; the process' own group if `None`.
    pub group: Option<u32>,
}

impl SocketAccess {
    /// For the owner alone.
    pub const PRIVATE: Self = Self { mode: 0o600, group: None };
}

/// A socket's name in the file system, removed on drop unless another file has the name by then.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    /// Device and inode.
    of: (u64, u64),
}

impl SocketFile {
    fn new(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), of: identity(path)? })
    }

    /// The file behind the name, as a name only and never what a link leads to, so that what is done
    /// to it is done to no other.
    fn open(&self) -> io::Result<File> {
        let name_only = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = File::from(openat(CWD, &self.path, name_only, Mode::empty())?);
        let meta = file.metadata()?;
        if !meta.file_type().is_socket() || self.of != (meta.dev(), meta.ino()) {
            return Err(io::Error::other("another file has taken its name"));
        }
        Ok(file)
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|of| of == self.of) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    path.symlink_metadata().map(|meta| (meta.dev(), meta.ino()))
}

impl Listener {
    /// Binds a TCP address.
    ///
    /// # Errors
    /// One line that names the address, and what most likely holds it.
    pub async fn tcp(address: SocketAddr) -> Result<Self, String> {
        TcpListener::bind(address).await.map(Self::Tcp).map_err(|error| {
            let hint = match error.kind() {
                io::ErrorKind::AddrInUse => {
                    format!("; another program has it, see: ss -ltnp 'sport = :{}'", address.port())
                }
                io::ErrorKind::AddrNotAvailable => "; this machine has no such address".into(),
                io::ErrorKind::PermissionDenied => "; ports below 1024 need a privilege".into(),
                _ => String::new(),
            };
            format!("cannot listen on {address}: {error}{hint}")
        })
    }

    /// Binds a socket file in a folder that is there, taking the place of one that nobody serves any
    /// more. Nobody can connect before the file is as `access` says.
    ///
    /// # Errors
    /// One line that names the file, and what to do about it.
    pub fn unix(path: &Path, access: SocketAccess) -> Result<Self, String> {
        let failed = |why: String| format!("cannot listen on unix:{}: {why}", path.display());
        if path.as_os_str().len() > MAX_SOCKET_PATH {
            return Err(failed(format!("the path is longer than {MAX_SOCKET_PATH} bytes")));
        }
        refuse_open_folder(path).map_err(failed)?;
        take_over(path).map_err(failed)?;
        let (socket, file) = bind(path).map_err(|error| {
            let hint = match error.kind() {
                io::ErrorKind::NotFound => "; its folder is not there",
                io::ErrorKind::PermissionDenied => "; this user may not write to its folder",
                _ => "",
            };
            failed(format!("{error}{hint}"))
        })?;
        let bound = file.open().map_err(|error| failed(error.to_string()))?;
        if let Some(group) = access.group {
            let group = Some(Gid::from_raw(group));
            chownat(&bound, c"", None, group, AtFlags::EMPTY_PATH).map_err(|error| {
                failed(format!(
                    "its group cannot be set: {}; this user must be in the group",
                    io::Error::from(error)
                ))
            })?;
        }
        let listening = || {
            // The kernel has no other way to change the mode of what is open as a name only.
            let opened = format!("/proc/self/fd/{}", bound.as_raw_fd());
            chmod(opened, Mode::from_raw_mode(access.mode))?;
            socket.listen(BACKLOG)?;
            socket.set_nonblocking(true)?;
            UnixListener::from_std(OwnedFd::from(socket).into())
        };
        Ok(Self::Unix(listening().map_err(|error| failed(error.to_string()))?, file))
    }

    /// The address, if it is a TCP listener.
    pub fn tcp_address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr().ok(),
            Self::Unix(..) => None,
        }
    }
}

/// A socket with this name to which nobody can connect yet.
fn bind(path: &Path) -> io::Result<(Socket, SocketFile)> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // Files that are made by binding have the socket's own mode: nobody gets at it too early.
    rustix::fs::fchmod(socket.as_fd(), rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR)?;
    socket.bind(&SockAddr::unix(path)?)?;
    Ok((socket, SocketFile::new(path)?))
}

/// Refuses a folder in which everybody can put something else in the place of the socket.
fn refuse_open_folder(path: &Path) -> Result<(), String> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match folder.metadata() {
        Ok(meta) if meta.mode() & 0o1002 == 0o002 => {
            Err(format!("everybody may change its folder; run: chmod o-w {}", folder.display()))
        }
        _ => Ok(()),
    }
}

/// Removes a socket file that nobody serves; leaves everything else alone and says what it is.
fn take_over(path: &Path) -> Result<(), String> {
    let Ok(meta) = path.symlink_metadata() else { return Ok(()) };
    if !meta.file_type().is_socket() {
        return Err("something that is no socket has this name; remove it or choose another".into());
    }
    let asked = || {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        // One with a full queue would have us wait for ever.
        socket.set_nonblocking(true)?;
        socket.connect(&SockAddr::unix(path)?)
    };
    match asked() {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path).map_err(|error| format!("the old socket cannot be removed: {error}"))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Ok(()) => Err("another program serves it".into()),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err("another program serves it".into()),
        Err(error) => Err(format!("it cannot be told whether another program serves it: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const OURS: SocketAccess = SocketAccess { mode: 0o660, group: None };

    fn mode(path: &Path) -> u32 {
        path.symlink_metadata().expect("there").permissions().mode() & 0o777
    }

    #[tokio::test]
    async fn a_stale_socket_is_taken_over_and_a_live_one_is_not() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("node.sock");
        // The standard library leaves the file behind.
        drop(std::os::unix::net::UnixListener::bind(&path).expect("bound"));
        assert!(path.exists());
        let listener = Listener::unix(&path, OURS).expect("taken over");
        assert_eq!(mode(&path), 0o660);
        let shown = format!("cannot listen on unix:{}: another program serves it", path.display());
        assert_eq!(Listener::unix(&path, OURS).expect_err("live"), shown);
        std::os::unix::net::UnixStream::connect(&path).expect("still served");
        drop(listener);
        assert!(!path.exists(), "it is removed at the end");
    }

    #[tokio::test]
    async fn who_may_connect_is_as_configured() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("node.sock");
        let group = rustix::process::getegid().as_raw();
        let access = SocketAccess { mode: 0o620, group: Some(group) };
        let _listener = Listener::unix(&path, access).expect("bound");
        assert_eq!((mode(&path), path.metadata().expect("there").gid()), (0o620, group));
    }

    #[tokio::test]
    async fn what_is_in_the_way_is_named_and_left_alone() {
        let folder = tempfile::tempdir().expect("folder");
        let file = folder.path().join("file");
        std::fs::write(&file, "kept").expect("written");
        let said = Listener::unix(&file, OURS).expect_err("a file");
        assert!(said.ends_with("something that is no socket has this name; remove it or choose another"));
        assert_eq!(std::fs::read_to_string(&file).expect("there"), "kept");
        let nowhere = folder.path().join("none/node.sock");
        let said = Listener::unix(&nowhere, OURS).expect_err("no folder");
        assert!(said.ends_with("; its folder is not there"), "{said}");
        let open = folder.path().join("open");
        std::fs::create_dir(&open).expect("made");
        std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o777)).expect("chmod");
        let said = Listener::unix(&open.join("node.sock"), OURS).expect_err("open");
        assert!(said.contains("everybody may change its folder; run: chmod o-w "), "{said}");
        std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o1777)).expect("chmod");
        Listener::unix(&open.join("node.sock"), OURS).expect("nobody may change what is another's");
        let long = folder.path().join("x".repeat(MAX_SOCKET_PATH));
        let said = Listener::unix(&long, OURS).expect_err("long");
        assert!(said.ends_with("the path is longer than 107 bytes"), "{said}");
    }

    #[test]
    fn a_file_that_took_the_name_is_not_touched() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("node.sock");
        let (_socket, file) = bind(&path).expect("bound");
        file.open().expect("its own");
        std::fs::rename(&path, folder.path().join("elsewhere")).expect("renamed");
        std::os::unix::fs::symlink(folder.path().join("elsewhere"), &path).expect("link");
        assert!(file.open().is_err(), "a link");
        std::fs::remove_file(&path).expect("removed");
        let _other = std::os::unix::net::UnixListener::bind(&path).expect("bound");
        assert!(file.open().is_err(), "another socket");
    }

    #[tokio::test]
    async fn a_file_that_took_the_name_is_not_removed() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("node.sock");
        let listener = Listener::unix(&path, OURS).expect("bound");
        std::fs::rename(&path, folder.path().join("elsewhere")).expect("renamed");
        std::fs::write(&path, "another's").expect("written");
        drop(listener);
        assert_eq!(std::fs::read_to_string(&path).expect("there"), "another's");
    }
}
