//! A file of the config: its text as written, as Starlark gets it, and the way back from a place in
//! the latter to the former.

use crate::diagnostic::Place;

/// A replacement of a byte range.
#[derive(Debug, Clone)]
pub(super) struct Edit {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) text: String,
}

/// A piece of the translated text: from `new` on it corresponds to `old`; replacements have no
/// inner correspondence.
#[derive(Debug, Clone, Copy)]
struct Anchor {
    new: usize,
    old: usize,
    replaced: bool,
}

/// One file of the config.
#[derive(Debug, Clone, Default)]
pub(crate) struct SourceFile {
    pub(crate) name: String,
    /// As written.
    pub(crate) original: String,
    /// As Starlark gets it.
    pub(crate) translated: String,
    anchors: Vec<Anchor>,
    /// Offsets in the original where lines begin.
    line_starts: Vec<usize>,
}

impl SourceFile {
    /// Applies edits, which must not overlap.
    pub(super) fn new(name: &str, original: &str, mut edits: Vec<Edit>) -> Self {
        edits.sort_by_key(|e| e.start);
        let mut translated = String::with_capacity(original.len() + 64);
        let mut anchors = Vec::new();
        let mut at = 0;
        for edit in &edits {
            if edit.start < at || edit.end < edit.start {
                // Overlapping edits would garble the text; the earlier one stands.
                continue;
            }
            anchors.push(Anchor { new: translated.len(), old: at, replaced: false });
            translated.push_str(original.get(at..edit.start).unwrap_or(""));
            anchors.push(Anchor { new: translated.len(), old: edit.start, replaced: true });
            translated.push_str(&edit.text);
            at = edit.end;
        }
        anchors.push(Anchor { new: translated.len(), old: at, replaced: false });
        translated.push_str(original.get(at..).unwrap_or(""));
        let line_starts = std::iter::once(0).chain(original.match_indices('\n').map(|(i, _)| i + 1)).collect();
        Self { name: name.to_owned(), original: original.to_owned(), translated, anchors, line_starts }
    }

    /// The offset in the original of an offset in the translation.
    pub(crate) fn original_offset(&self, translated: usize) -> usize {
        let i = self.anchors.partition_point(|a| a.new <= translated).saturating_sub(1);
        let Some(anchor) = self.anchors.get(i) else {
            return translated;
        };
        let old = if anchor.replaced { anchor.old } else { anchor.old + (translated - anchor.new) };
        old.min(self.original.len())
    }

    /// Line and column of an offset in the original.
    pub(crate) fn place(&self, offset: usize) -> Place {
        let line = self.line_starts.partition_point(|start| *start <= offset).max(1);
        let start = self.line_starts.get(line - 1).copied().unwrap_or(0);
        let column = self.original.get(start..offset).map_or(1, |text| text.chars().count() + 1);
        Place {
            file: self.name.clone(),
            line: u32::try_from(line).unwrap_or(u32::MAX),
            column: u32::try_from(column).unwrap_or(u32::MAX),
        }
    }

    /// The text of a line, from 1.
    pub(crate) fn line(&self, line: u32) -> &str {
        let Some(start) = (line as usize).checked_sub(1).and_then(|n| self.line_starts.get(n)) else {
            return "";
        };
        let text = self.original.get(*start..).unwrap_or("");
        text.split('\n').next().unwrap_or("").trim_end()
    }
}
