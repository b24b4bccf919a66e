//! What a release consists of, decided: bytes come in, the bytes of files come out. Nothing here looks at a file, a clock, the
//! environment or who runs it, so that the same bytes always give the same release.
//!
//! ```text
//!   texts of licenses        ──▶ notices ─┐
//!   programs, pages, LICENSE ──▶ layout ──▶ tree ──▶ PROGRAM-VERSION-linux-ARCH.tar.gz ──▶ krew ──▶ cmdjob.yaml
//!   programs, Containerfiles ──▶ oci    ──▶ tree ──▶ PROGRAM-VERSION-linux-ARCH.oci.tar
//!   charts/vk-cmd            ──▶ chart  ──▶ tree ──▶ vk-cmd-VERSION.tgz
//!   cargo's tree and metadata ─▶ sbom   ───────────▶ PROGRAM-VERSION-linux-ARCH.cdx.json
//!   all of these             ──▶ sums   ───────────▶ SHA256SUMS
//! ```
//!
//! [`flags`] is what the compiler is told so that it does the same anywhere.

pub mod chart;
pub mod compare;
pub mod edition;
pub mod flags;
pub mod krew;
pub mod layout;
pub mod notices;
pub mod oci;
pub mod program;
pub mod sbom;
pub mod sums;
pub mod tree;
