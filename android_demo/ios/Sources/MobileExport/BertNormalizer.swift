/// What BERT's tokenizer does to a text before it looks for words, by the manifest's flags.
struct BertNormalizer {
  let cleanText: Bool
  let handleChineseCharacters: Bool
  let stripAccents: Bool
  let lowercase: Bool

  /// Code points → code points. Those that Unicode has not assigned stay.
  func normalize(_ text: some Sequence<UInt32>) -> [UInt32] {
    var points: [UInt32] = []
    for point in text {
      if cleanText {
        if PackedTables.cleanDropped.contains(point) { continue }
        if PackedTables.cleanSpaces.contains(point) {
          points.append(BertNormalizer.space)
          continue
        }
      }
      if handleChineseCharacters, PackedTables.chinese.contains(point) {
        points += [BertNormalizer.space, point, BertNormalizer.space]
      } else {
        points.append(point)
      }
    }
    if stripAccents {
      points = decomposed(points).filter { !PackedTables.accents.contains($0) }
    }
    if lowercase {
      points = points.flatMap { PackedTables.lowercase[$0] ?? [$0] }
    }
    return points
  }

  private static let space: UInt32 = 0x20

  /// Canonical decomposition, marks in canonical order.
  private func decomposed(_ points: [UInt32]) -> [UInt32] {
    var result = points.flatMap { hangul($0) ?? PackedTables.decompositions[$0] ?? [$0] }
    var start = 0
    while start < result.count {
      guard PackedTables.combiningRanks[result[start]] > 0 else {
        start += 1
        continue
      }
      var end = start + 1
      while end < result.count, PackedTables.combiningRanks[result[end]] > 0 { end += 1 }
      if end - start > 1 { sort(&result, start..<end) }
      start = end
    }
    return result
  }

  /// Sorts a run of marks by rank; marks of one rank keep their order, which `sort` does not
  /// promise.
  private func sort(_ points: inout [UInt32], _ run: Range<Int>) {
    let ranked = run.map { (rank: PackedTables.combiningRanks[points[$0]], place: $0) }
    let sorted = ranked.sorted { ($0.rank, $0.place) < ($1.rank, $1.place) }
    points.replaceSubrange(run, with: sorted.map { points[$0.place] })
  }

  /// A Hangul syllable's two or three parts; nil for all else.
  private func hangul(_ point: UInt32) -> [UInt32]? {
    guard 0xAC00...0xD7A3 ~= point else { return nil }
    let index = point - 0xAC00
    let parts = [0x1100 + index / 588, 0x1161 + index % 588 / 28]
    return index % 28 == 0 ? parts : parts + [0x11A7 + index % 28]
  }
}
