//! The tables that tell of a table: its snapshots, its files, its properties.

/// What a metadata table is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetadataTable {
    /// The versions that can still be read.
    Snapshots,
    /// Which version was the current one from when on.
    History,
    /// Branches and tags.
    Refs,
    /// The manifests of the snapshot.
    Manifests,
    /// The data files of the snapshot.
    Files,
    /// The table partitions of the snapshot, with the sums of their files.
    Partitions,
    /// The table's properties.
    Properties,
}

impl MetadataTable {
    /// Every metadata table.
    pub const ALL: [Self; 7] = [
        Self::Snapshots,
        Self::History,
        Self::Refs,
        Self::Manifests,
        Self::Files,
        Self::Partitions,
        Self::Properties,
    ];

    /// The metadata table of that name, in lower case.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|table| table.name() == name)
    }

    /// The name that follows the table's own.
    pub fn name(self) -> &'static str {
        match self {
            Self::Snapshots => "snapshots",
            Self::History => "history",
            Self::Refs => "refs",
            Self::Manifests => "manifests",
            Self::Files => "files",
            Self::Partitions => "partitions",
            Self::Properties => "properties",
        }
    }
}
