//! What a program is made of, in CycloneDX's JSON: the crates that are linked into it (`required`), those that took part in
//! building it (`excluded`: build scripts, procedural macros and what they need), and of others' programs the standard library of
//! Rust, and the libraries of C and of the compiler, which are in a static program too.
//!
//! Which crates: `cargo tree` of that package alone, for its target, with the features that it is built with; the metadata of
//! a workspace has all features of all its members. What is to be said of them: `cargo metadata`, and the sums of `Cargo.lock`.

mod tree;

use std::collections::BTreeMap;

use cyclonedx_bom::external_models::date_time::{DateTime, DateTimeError};
use cyclonedx_bom::external_models::normalized_string::NormalizedString;
use cyclonedx_bom::external_models::spdx::{SpdxExpression, SpdxExpressionError};
use cyclonedx_bom::external_models::uri::{Purl, UriError};
use cyclonedx_bom::models::bom::{Bom, SpecVersion, UrnUuid};
use cyclonedx_bom::models::component::{Classification, Component, Components, Scope};
use cyclonedx_bom::models::dependency::{Dependencies, Dependency};
use cyclonedx_bom::models::hash::{Hash, HashAlgorithm, HashValue, Hashes};
use cyclonedx_bom::models::license::{LicenseChoice, Licenses};
use cyclonedx_bom::models::metadata::Metadata;
use cyclonedx_bom::models::property::{Properties, Property};
use cyclonedx_bom::models::tool::{Tool, Tools};
use cyclonedx_bom::validation::Validate as _;

use self::tree::Graph;
pub use self::tree::{FORMAT, Key};
use crate::edition::Edition;
use crate::program::Program;
use crate::sums::sha256;

/// The version of the specification.
const SPEC: SpecVersion = SpecVersion::V1_5;

/// Why there is no bill of materials.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A line of `cargo tree`.
    #[error("`cargo tree` has written a line that is not understood: {0:?}")]
    Line(String),
    /// It has written nothing.
    #[error("`cargo tree` has written nothing")]
    Empty,
    /// A package that cargo's metadata do not have.
    #[error("`cargo metadata` does not tell of {0}, which `cargo tree` does")]
    Unknown(Key),
    /// What cargo tells cannot be read.
    #[error("what `cargo metadata` has written does not parse")]
    Metadata(#[source] serde_json::Error),
    /// `Cargo.lock` cannot be read.
    #[error("Cargo.lock does not parse")]
    Lock(#[source] cargo_lock::Error),
    /// A package says nothing of its license.
    #[error("{0} names no license: say in its Cargo.toml, or here, under which it is used")]
    NoLicense(Key),
    /// It says what is none.
    #[error("the license of {package} is no SPDX expression: {license}")]
    License {
        /// The package.
        package: Key,
        /// What it says.
        license: String,
        /// What is wrong.
        source: SpdxExpressionError,
    },
    /// A package's address cannot be written.
    #[error("no package URL can be made for {0}")]
    Purl(Key, #[source] UriError),
    /// The time is none that the specification knows.
    #[error("the time of the release cannot be written")]
    Time(#[source] DateTimeError),
    /// What has been made is against the specification.
    #[error("the bill of materials of {0} is not valid: {1}")]
    Invalid(&'static str, String),
    /// It cannot be written.
    #[error("the bill of materials cannot be written")]
    Write(#[source] cyclonedx_bom::errors::JsonWriteError),
}

/// What cargo says of a program.
#[derive(Clone, Copy, Debug)]
pub struct Told<'a> {
    /// `cargo tree --prefix depth --format` [`FORMAT`] of what is linked: `--edges normal,no-proc-macro`.
    pub linked: &'a str,
    /// The same of all that takes part: `--edges normal,build`.
    pub all: &'a str,
}

/// What is the same for all programs.
#[derive(Clone, Debug)]
pub struct Known {
    packages: BTreeMap<Key, Package>,
    sums: BTreeMap<Key, String>,
    /// What is linked that no crate is.
    pub platform: Vec<Linked>,
    /// The target that is built for, as rustc calls it.
    pub target: String,
}

/// What is linked, and under which license.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Licensed<'a> {
    /// What.
    pub package: Key,
    /// Its license, in SPDX's words.
    pub license: String,
    /// Its Cargo.toml, if it is a crate.
    pub manifest: Option<&'a str>,
}

/// A library that is linked and is no crate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Linked {
    /// What it is called.
    pub name: &'static str,
    /// Its version.
    pub version: String,
    /// Its license, in SPDX's words.
    pub license: &'static str,
}

#[derive(Clone, Debug, serde::Deserialize)]
struct Package {
    name: String,
    version: String,
    license: Option<String>,
    description: Option<String>,
    /// `None` for what is in this workspace.
    source: Option<String>,
    /// Its Cargo.toml, beside which the texts of its license are.
    manifest_path: String,
}

#[derive(serde::Deserialize)]
struct MetadataOfCargo {
    packages: Vec<Package>,
}

impl Known {
    /// From what `cargo metadata --format-version 1` writes, and `Cargo.lock`.
    ///
    /// # Errors
    /// If either does not parse.
    pub fn new(metadata: &[u8], lock: &str, platform: Vec<Linked>, target: String) -> Result<Self, Error> {
        let told: MetadataOfCargo = serde_json::from_slice(metadata).map_err(Error::Metadata)?;
        let lock: cargo_lock::Lockfile = lock.parse().map_err(Error::Lock)?;
        let key = |name: &str, version: &str| Key { name: name.to_owned(), version: version.to_owned() };
        let packages =
            told.packages.into_iter().map(|package| (key(&package.name, &package.version), package)).collect();
        let sums = lock.packages.iter().filter_map(|package| {
            let sum = package.checksum.as_ref()?.to_string();
            Some((key(package.name.as_str(), &package.version.to_string()), sum))
        });
        Ok(Self { packages, sums: sums.collect(), platform, target })
    }

    fn component(&self, key: &Key) -> Result<Component, Error> {
        let package = self.packages.get(key).ok_or_else(|| Error::Unknown(key.clone()))?;
        let license = package.license(key)?;
        let mut component = Component::new(Classification::Library, &key.name, &key.version, Some(key.to_string()));
        component.licenses = Some(Licenses(vec![LicenseChoice::Expression(license)]));
        let description = package.description.as_deref().unwrap_or_default();
        component.description = (!description.is_empty()).then(|| NormalizedString::new(&one_line(description)));
        if package.source.is_some() {
            let purl =
                Purl::new("cargo", &key.name, &key.version).map_err(|source| Error::Purl(key.clone(), source))?;
            component.purl = Some(purl);
        }
        component.hashes = self.sums.get(key).map(|sum| hash(sum));
        Ok(component)
    }

    /// All that is linked and not ours.
    ///
    /// # Errors
    /// If cargo does not tell of one, or it names no license.
    pub fn linked(&self, told: Told<'_>) -> Result<Vec<Licensed<'_>>, Error> {
        let graph = Graph::parse(told.linked)?;
        let mut linked = Vec::new();
        for key in graph.nodes.into_keys() {
            let package = self.packages.get(&key).ok_or_else(|| Error::Unknown(key.clone()))?;
            if package.source.is_some() {
                let license = package.license(&key)?.to_string();
                linked.push(Licensed { package: key, license, manifest: Some(&package.manifest_path) });
            }
        }
        let others = self.platform.iter();
        linked.extend(others.map(|library| Licensed {
            package: library.key(),
            license: library.license.to_owned(),
            manifest: None,
        }));
        Ok(linked)
    }

    /// The bill of materials of a program, which is these bytes.
    ///
    /// # Errors
    /// If a crate says no license, or the result were not valid.
    pub fn sbom(&self, program: Program, bytes: &[u8], told: Told<'_>, edition: &Edition) -> Result<Vec<u8>, Error> {
        let linked = Graph::parse(told.linked)?;
        let all = Graph::parse(told.all)?;
        let mut components = Vec::new();
        for (key, node) in all.nodes.iter().filter(|(key, _)| **key != all.root) {
            let mut component = self.component(key)?;
            let in_program = linked.nodes.get(key);
            component.scope = Some(if in_program.is_some() { Scope::Required } else { Scope::Excluded });
            let features = in_program.unwrap_or(node).features.join(",");
            component.properties = (!features.is_empty()).then(|| property("cargo:features", &features));
            components.push(component);
        }
        for library in &self.platform {
            components.push(library.component()?);
        }
        let mut dependencies: Vec<Dependency> = all.nodes.iter().map(|(key, node)| depends(key, &node.needs)).collect();
        if let Some(first) = dependencies.iter_mut().find(|one| one.dependency_ref == all.root.to_string()) {
            first.dependencies.extend(self.platform.iter().map(Linked::reference));
        }
        let mut subject = self.component(&all.root)?;
        subject.component_type = Classification::Application;
        subject.name = NormalizedString::new(program.name());
        subject.version = Some(NormalizedString::new(&edition.version.to_string()));
        subject.hashes = Some(hash(&sha256(bytes)));
        subject.properties = Some(property("cargo:target", &self.target));
        let metadata = Metadata {
            timestamp: Some(DateTime::try_from(edition.time.to_string()).map_err(Error::Time)?),
            tools: Some(Tools::List(vec![Tool::new("vk-cmd", "vk-release", edition.version.number())])),
            component: Some(subject),
            ..Metadata::default()
        };
        let bom = Bom {
            version: 1,
            serial_number: Some(serial_number(&sha256(bytes))),
            metadata: Some(metadata),
            components: Some(Components(components)),
            dependencies: Some(Dependencies(dependencies)),
            services: None,
            external_references: None,
            compositions: None,
            properties: None,
            vulnerabilities: None,
            signature: None,
            annotations: None,
            formulation: None,
            spec_version: SPEC,
        };
        let verdict = bom.validate_version(SPEC);
        if !verdict.passed() {
            return Err(Error::Invalid(program.name(), format!("{verdict:?}")));
        }
        let mut written = Vec::new();
        bom.output_as_json(&mut written, SPEC).map_err(Error::Write)?;
        written.push(b'\n');
        Ok(written)
    }
}

impl Package {
    fn license(&self, key: &Key) -> Result<SpdxExpression, Error> {
        let license = self.license.clone().ok_or_else(|| Error::NoLicense(key.clone()))?;
        // Before there were expressions, `MIT/Apache-2.0` was written.
        SpdxExpression::try_from(one_line(&license.replace('/', " OR "))).map_err(|source| Error::License {
            package: key.clone(),
            license,
            source,
        })
    }
}

impl Linked {
    fn key(&self) -> Key {
        Key { name: self.name.to_owned(), version: self.version.clone() }
    }

    fn reference(&self) -> String {
        self.key().to_string()
    }

    fn component(&self) -> Result<Component, Error> {
        let key = self.key();
        let mut component = Component::new(Classification::Library, self.name, &self.version, Some(self.reference()));
        let license = SpdxExpression::try_from(self.license.to_owned()).map_err(|source| Error::License {
            package: key.clone(),
            license: self.license.to_owned(),
            source,
        })?;
        component.licenses = Some(Licenses(vec![LicenseChoice::Expression(license)]));
        component.purl =
            Some(Purl::new("generic", self.name, &self.version).map_err(|source| Error::Purl(key, source))?);
        component.scope = Some(Scope::Required);
        Ok(component)
    }
}

fn depends(key: &Key, needs: &std::collections::BTreeSet<Key>) -> Dependency {
    Dependency { dependency_ref: key.to_string(), dependencies: needs.iter().map(Key::to_string).collect() }
}

fn hash(sha256: &str) -> Hashes {
    Hashes(vec![Hash { alg: HashAlgorithm::SHA_256, content: HashValue(sha256.to_owned()) }])
}

fn property(name: &str, value: &str) -> Properties {
    Properties(vec![Property::new(name, value)])
}

/// A description may have several lines.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A UUID of version 8 (RFC 9562, 5.8), out of the program's SHA-256: another program has another one, the same has the same.
fn serial_number(sha256: &str) -> UrnUuid {
    let part = |from: usize, to: usize| sha256.get(from..to).unwrap_or_default();
    let (a, b, c, d, e) = (part(0, 8), part(8, 12), part(13, 16), part(17, 20), part(20, 32));
    UrnUuid(format!("urn:uuid:{a}-{b}-8{c}-8{d}-{e}"))
}

#[cfg(test)]
#[path = "sbom_tests.rs"]
mod tests;
