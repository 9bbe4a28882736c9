//! How much a file may ask for.

/// Upper bounds on what a file may ask for, beside its own size.
///
/// The defaults are several times what the largest published models need. A file beyond one is
/// refused with [`Error::LimitExceeded`](crate::Error::LimitExceeded), which names the limit.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Metadata entries. Default: 65 536.
    pub metadata_entries: u64,
    /// Tensors in the directory. Default: 65 536.
    pub tensors: u64,
    /// Bytes of metadata and tensor directory together; in memory they take at most about four
    /// times as much. Default: 512 MiB (a vocabulary of 256 000 tokens with its merges takes about
    /// 16 MiB).
    pub header_bytes: u64,
    /// Bytes of one string, such as a chat template. Default: 16 MiB.
    pub string_bytes: u64,
    /// Bytes of one metadata key or tensor name. Default: 65 535, as the format says for keys.
    pub name_bytes: u64,
    /// Elements of one metadata array, at every level of nesting. Default: 16 777 216.
    pub array_elements: u64,
    /// How deep arrays may be nested; 1 is an array of plain values. Default: 4.
    pub array_nesting: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            metadata_entries: 1 << 16,
            tensors: 1 << 16,
            header_bytes: 512 << 20,
            string_bytes: 16 << 20,
            name_bytes: (1 << 16) - 1,
            array_elements: 1 << 24,
            array_nesting: 4,
        }
    }
}
