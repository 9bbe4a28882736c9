//! Event files, and beside them what stands in them.

use std::path::Path;

use crate::Result;

pub(crate) fn write(_folder: &Path) -> Result<()> {
    Ok(())
}
