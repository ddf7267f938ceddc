//! Packages from npm, for clients that run in Node.

use std::path::Path;
use std::process::Command;

/// What `folder/package.json` asks for, with `package` at the version that the lock names; nothing is done when it is there already.
/// `Err` says why not.
pub fn npm_install(folder: &Path, package: &str) -> Result<(), String> {
    let version = |file: &str, of: &[&str]| -> Option<String> {
        let text = std::fs::read_to_string(folder.join(file)).ok()?;
        let json: serde_json::Value = serde_json::from_str(&text).ok()?;
        let member = of.iter().try_fold(&json, |json, key| json.get(key))?;
        Some(member.as_str()?.to_owned())
    };
    let place = format!("node_modules/{package}");
    let wanted = version("package-lock.json", &["packages", &place, "version"]).ok_or("the lock names no version")?;
    if version(&format!("{place}/package.json"), &["version"]) == Some(wanted) {
        return Ok(());
    }
    let run = |program: &str, args: &[&str]| {
        let output = Command::new(program).args(args).current_dir(folder).output();
        let output = output.map_err(|e| format!("{program} does not run ({e}); cargo xtask engines"))?;
        if output.status.success() {
            return Ok(());
        }
        Err(format!(
            "{program} {args:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        ))
    };
    run("node", &["--version"])?;
    run("npm", &["ci", "--ignore-scripts", "--no-audit", "--no-fund"])
}
