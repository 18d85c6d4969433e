/// Tokens that are found in a text as they are written, before it is cut into words: `[SEP]` in a
/// text is the special token, and so is what somebody added to the vocabulary.
struct AddedTokens {
  /// An entry of tokenizer.json's `added_tokens`.
  struct Token: Decodable {
    let id: Int32
    let content: String
    let singleWord: Bool
    let lstrip: Bool
    let rstrip: Bool
    let normalized: Bool

    private enum CodingKeys: String, CodingKey {
      case id, content, lstrip, rstrip, normalized
      case singleWord = "single_word"
    }
  }

  /// A stretch of a text: an added token, or what lies between two.
  enum Piece {
    case token(Int32)
    case text(ArraySlice<UInt32>)
  }

  // Longest first: of two tokens that begin at the same place, the longer one is meant.
  private let patterns: [(points: [UInt32], token: Token)]
  private let firsts: Set<UInt32>

  /// - Parameter written: How a token stands in the texts that `split` gets.
  init(_ tokens: [Token], written: (String) -> [UInt32]) {
    patterns =
      tokens
      .map { (points: written($0.content), token: $0) }
      .filter { !$0.points.isEmpty }
      .sorted { $0.points.count > $1.points.count }
    firsts = Set(patterns.map { $0.points[0] })
  }

  /// Cuts a text at the tokens that are in it.
  func split(_ text: ArraySlice<UInt32>) -> [Piece] {
    var pieces: [Piece] = []
    var (done, place) = (text.startIndex, text.startIndex)
    while place < text.endIndex {
      guard let (points, token) = match(text[place...]) else {
        place += 1
        continue
      }
      var (start, end) = (place, place + points.count)
      place = end
      if token.singleWord, touchesWord(text, start..<end) { continue }
      if token.lstrip {
        while start > done, PackedTables.whitespace.contains(text[start - 1]) { start -= 1 }
      }
      if token.rstrip {
        while end < text.endIndex, PackedTables.whitespace.contains(text[end]) { end += 1 }
      }
      if done < start { pieces.append(.text(text[done..<start])) }
      pieces.append(.token(token.id))
      (done, place) = (end, max(place, end))
    }
    if done < text.endIndex { pieces.append(.text(text[done...])) }
    return pieces
  }

  private func match(_ rest: ArraySlice<UInt32>) -> (points: [UInt32], token: Token)? {
    guard let first = rest.first, firsts.contains(first) else { return nil }
    return patterns.first { rest.starts(with: $0.points) }
  }

  private func touchesWord(_ text: ArraySlice<UInt32>, _ range: Range<Int>) -> Bool {
    range.lowerBound > text.startIndex
      && PackedTables.wordCharacters.contains(text[range.lowerBound - 1])
      || range.upperBound < text.endIndex
        && PackedTables.wordCharacters.contains(text[range.upperBound])
  }
}
