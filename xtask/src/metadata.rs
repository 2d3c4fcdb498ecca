//! What `cargo metadata` says of the workspace. Not here: what is made of it.

use serde_json::Value;

use crate::step::{cargo_line, read};

/// The packages of the workspace.
#[derive(Debug)]
pub(crate) struct Workspace {
    packages: Vec<Package>,
}

/// One package of ours.
#[derive(Debug)]
pub(crate) struct Package {
    /// Its name.
    pub(crate) name: String,
    /// Packages it depends on, tests and build scripts not counted.
    pub(crate) depends_on: Vec<String>,
    /// Its features.
    pub(crate) features: Vec<String>,
    /// The names of its programs.
    pub(crate) programs: Vec<String>,
    /// Integration tests that need the feature `lab`.
    pub(crate) lab_tests: Vec<String>,
}

impl Workspace {
    /// Asks cargo.
    pub(crate) fn read() -> Result<Self, String> {
        let text = read(&mut cargo_line("metadata --format-version 1 --no-deps"))?;
        let json: Value = serde_json::from_str(&text).map_err(|error| format!("cargo metadata: {error}"))?;
        let packages = list(&json, "packages").iter().map(Package::parse).collect();
        Ok(Self { packages })
    }

    /// All of them.
    pub(crate) fn packages(&self) -> &[Package] {
        &self.packages
    }

    /// Whether a package or a program has this name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.packages.iter().any(|package| package.name == name || package.programs.iter().any(|own| own == name))
    }
}

impl Package {
    fn parse(json: &Value) -> Self {
        let depends = list(json, "dependencies").iter().filter(|dependency| dependency["kind"].is_null());
        let targets = list(json, "targets");
        let of_kind =
            |kind: &'static str| targets.iter().filter(move |target| names(target, "kind").any(|own| own == kind));
        let lab = of_kind("test").filter(|target| names(target, "required-features").any(|feature| feature == "lab"));
        Self {
            name: name(json),
            depends_on: depends.map(name).collect(),
            features: json["features"].as_object().into_iter().flatten().map(|(name, _)| name.clone()).collect(),
            programs: of_kind("bin").map(name).collect(),
            lab_tests: lab.map(name).collect(),
        }
    }
}

fn list<'a>(json: &'a Value, field: &str) -> &'a [Value] {
    json[field].as_array().map_or(&[], Vec::as_slice)
}

fn names<'a>(json: &'a Value, field: &str) -> impl Iterator<Item = &'a str> {
    list(json, field).iter().filter_map(Value::as_str)
}

fn name(json: &Value) -> String {
    json["name"].as_str().unwrap_or_default().to_owned()
}
