import Foundation

/// A text as a model reads it.
public struct Encoding: Sendable, Equatable {
  /// Special tokens included, not padded.
  public let ids: [Int32]
  /// Whether the text was cut to fit.
  public let isTruncated: Bool

  public init(ids: [Int32], isTruncated: Bool) {
    self.ids = ids
    self.isTruncated = isTruncated
  }
}

/// BERT's tokenizer, as Hugging Face's `tokenizers` computes it.
///
/// It works on code points throughout: Swift takes canonically equivalent strings, such as `é` in
/// one code point and in two, for equal, and tokens are not.
public struct WordPieceTokenizer: Sendable {
  private let vocabulary: [[UInt32]: Int32]
  private let normalizer: BertNormalizer
  private let addedAsWritten: AddedTokens
  private let addedNormalized: AddedTokens
  private let spec: TokenizerSpec
  private let continuation: [UInt32]
  private let longestWord: Int
  private let longestToken: Int
  private let classification: Int32
  private let separator: Int32
  private let unknown: Int32

  /// Reads a bundle's vocabulary and what tokenizer.json alone knows.
  ///
  /// - Throws: `BundleError` if the bundle's tokenizer is of another type, which it names, or its
  ///   files contradict the manifest.
  public init(bundle: ModelBundle) throws {
    let spec = bundle.manifest.tokenizer
    guard spec.type == "WordPiece", let path = spec.vocabulary else {
      throw BundleError(
        "\(bundle.manifest.name) needs a \(spec.type) tokenizer",
        why: "this package has WordPiece alone",
        todo: "use Hugging Face's swift-transformers with \(spec.file)")
    }
    let file = try TokenizerFile(json: bundle.data(spec.file), path: spec.file)
    let tokens = try WordPieceTokenizer.lines(bundle.data(path))
    if tokens.count != spec.vocabularySize {
      throw BundleError(
        "\(path) has \(tokens.count) tokens", why: "the manifest says \(spec.vocabularySize)")
    }
    let ids = Dictionary(
      zip(tokens, (0 as Int32)...), uniquingKeysWith: { first, _ in first })
    func id(_ token: String) throws -> Int32 {
      guard let id = ids[token.points] else { throw BundleError("\(path) has no \(token)") }
      return id
    }
    classification = try id(spec.classificationToken)
    separator = try id(spec.separatorToken)
    unknown = try id(file.model.unknownToken)
    // A token that was only added is no piece of a word.
    let onlyAdded = file.addedTokens.map(\.content).filter { !file.model.vocabulary.has($0) }
    let hidden = Set(onlyAdded.map(\.points))
    vocabulary = ids.filter { !hidden.contains($0.key) }
    longestToken = vocabulary.keys.map(\.count).max() ?? 0
    continuation = file.model.continuation.points
    longestWord = file.model.longestWord
    let normalizer = BertNormalizer(
      cleanText: spec.cleanText, handleChineseCharacters: spec.handleChineseCharacters,
      stripAccents: spec.stripAccents, lowercase: spec.lowercase)
    addedAsWritten = AddedTokens(file.addedTokens.filter { !$0.normalized }) { $0.points }
    addedNormalized = AddedTokens(file.addedTokens.filter(\.normalized)) {
      normalizer.normalize($0.points)
    }
    self.normalizer = normalizer
    self.spec = spec
  }

  /// Ids of one text with its special tokens, cut at the manifest's `max_length`. Any string is
  /// accepted; half a surrogate pair, which would become the manifest's `lone_surrogates`, cannot
  /// stand in a Swift string.
  public func encode(_ text: String) -> Encoding {
    var ids: [Int32] = []
    for piece in addedAsWritten.split(text.points[...]) {
      switch piece {
      case .token(let id): ids.append(id)
      case .text(let part):
        for piece in addedNormalized.split(normalizer.normalize(part)[...]) {
          switch piece {
          case .token(let id): ids.append(id)
          case .text(let part): ids += words(part).flatMap(pieces)
          }
        }
      }
    }
    let room = spec.maxLength - 2
    let kept = Array(ids.prefix(room))
    let framed =
      spec.classificationPosition == .first
      ? [classification] + kept + [separator] : kept + [separator, classification]
    return Encoding(ids: framed, isTruncated: ids.count > room)
  }

  /// Splits at white space, and around each punctuation mark.
  private func words(_ text: ArraySlice<UInt32>) -> [ArraySlice<UInt32>] {
    var result: [ArraySlice<UInt32>] = []
    var start = text.startIndex
    for place in text.indices {
      let isPunctuation = PackedTables.punctuation.contains(text[place])
      guard isPunctuation || PackedTables.whitespace.contains(text[place]) else { continue }
      if start < place { result.append(text[start..<place]) }
      if isPunctuation { result.append(text[place...place]) }
      start = place + 1
    }
    if start < text.endIndex { result.append(text[start...]) }
    return result
  }

  /// The longest known piece first, then the longest that continues it, and so on; a word that
  /// cannot be covered is unknown as a whole.
  private func pieces(_ word: ArraySlice<UInt32>) -> [Int32] {
    if word.count > longestWord { return [unknown] }
    var result: [Int32] = []
    var start = word.startIndex
    while start < word.endIndex {
      let prefix = start == word.startIndex ? [] : continuation
      var end = min(word.endIndex, start + longestToken)
      while end > start, vocabulary[prefix + word[start..<end]] == nil { end -= 1 }
      guard end > start, let id = vocabulary[prefix + word[start..<end]] else { return [unknown] }
      result.append(id)
      start = end
    }
    return result
  }

  /// The lines of vocab.txt, each ended by a line feed and by nothing else: a token may be a
  /// carriage return.
  private static func lines(_ data: Data) -> [[UInt32]] {
    data.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
      .dropLast(data.last == UInt8(ascii: "\n") ? 1 : 0)
      .map { String(decoding: $0, as: UTF8.self).points }
  }
}

extension String {
  /// The code points.
  var points: [UInt32] { unicodeScalars.map(\.value) }
}
