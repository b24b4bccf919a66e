//! Reading a file of a pod's volume, for a node that makes variables of it.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::OFlags;
use vk_record::chain;
use vk_record::pods::{Part, part};
use vk_task::{ApiError, DirName, ErrorReason, FileContent, FilePath, MAX_READ_BYTES};

use super::Pipe;

impl Pipe {
    /// What is in a file of a volume. Nothing is told that a task of the pod could not tell as well: it is the same user.
    pub(super) async fn read_volume(
        self: &Arc<Self>,
        pod: DirName,
        name: DirName,
        path: FilePath,
    ) -> Result<FileContent, ApiError> {
        let pipe = Arc::clone(self);
        let read = move || {
            let volume = pipe.pods.volume(&pod, &name).map_err(|e| refusal(ErrorReason::Internal, chain(&e)))?;
            let none = || refusal(ErrorReason::NotFound, format!("there is no file {path} in the volume {name}"));
            read(&volume.ok_or_else(none)?, &path)?.ok_or_else(none)
        };
        self.blocking.run(read).await
    }
}

fn refusal(reason: ErrorReason, message: String) -> ApiError {
    ApiError { reason, message }
}

/// The file, if there is one.
fn read(volume: &Path, path: &FilePath) -> Result<Option<FileContent>, ApiError> {
    let failed = |e: std::io::Error| {
        if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) {
            return Ok(None);
        }
        Err(refusal(ErrorReason::Internal, format!("the file {path} cannot be read: {e}")))
    };
    let real = match part(volume, path) {
        Ok(Part::Inside(real)) => real,
        Ok(Part::Outside) => {
            return Err(refusal(ErrorReason::Invalid, format!("the path {path} leads out of its volume")));
        }
        Err(e) => return failed(e),
    };
    // A pipe among the files would keep who opens it waiting.
    let open = OpenOptions::new()
        .read(true)
        .custom_flags((OFlags::NONBLOCK | OFlags::NOFOLLOW).bits().cast_signed())
        .open(real);
    match open.and_then(|file| content(&file)) {
        Ok(Some(content)) => Ok(Some(content)),
        Ok(None) => Err(refusal(
            ErrorReason::Invalid,
            format!("the file {path} is longer than {MAX_READ_BYTES} bytes, or is no plain file"),
        )),
        Err(e) => failed(e),
    }
}

fn content(file: &File) -> std::io::Result<Option<FileContent>> {
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Ok(None);
    }
    let mut data = Vec::new();
    // It may grow while it is read.
    file.take(MAX_READ_BYTES + 1).read_to_end(&mut data)?;
    let fits = u64::try_from(data.len()).is_ok_and(|length| length <= MAX_READ_BYTES);
    let mode = std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o777;
    Ok(fits.then_some(FileContent { data, mode }))
}
