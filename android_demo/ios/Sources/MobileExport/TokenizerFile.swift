import Foundation

/// What tokenizer.json knows and the manifest does not say.
struct TokenizerFile: Decodable {
  /// The WordPiece model.
  struct Model: Decodable {
    let unknownToken: String
    let continuation: String
    let longestWord: Int
    let vocabulary: Vocabulary

    private enum CodingKeys: String, CodingKey {
      case unknownToken = "unk_token"
      case continuation = "continuing_subword_prefix"
      case longestWord = "max_input_chars_per_word"
      case vocabulary = "vocab"
    }
  }

  /// Which tokens the model has. For their ids read vocab.txt: as keys of a dictionary, Swift would
  /// take canonically equivalent tokens for one.
  struct Vocabulary: Decodable {
    private let tokens: Set<[UInt32]>

    init(from decoder: any Decoder) throws {
      let container = try decoder.container(keyedBy: AnyKey.self)
      tokens = Set(container.allKeys.map(\.stringValue.points))
    }

    func has(_ token: String) -> Bool { tokens.contains(token.points) }
  }

  private struct Part: Decodable {
    let type: String
  }

  private struct AnyKey: CodingKey {
    let stringValue: String
    var intValue: Int? { nil }

    init(stringValue: String) { self.stringValue = stringValue }
    init?(intValue: Int) { nil }
  }

  let addedTokens: [AddedTokens.Token]
  let model: Model
  private let normalizer: Part?
  private let splitter: Part?

  private enum CodingKeys: String, CodingKey {
    case model, normalizer
    case addedTokens = "added_tokens"
    case splitter = "pre_tokenizer"
  }

  /// - Throws: `BundleError` if it is not a tokenizer file, or normalizes or splits a text in
  ///   another way than BERT.
  init(json: Data, path: String) throws {
    do {
      self = try JSONDecoder().decode(TokenizerFile.self, from: json)
    } catch {
      throw BundleError(
        "\(path) is not a WordPiece tokenizer file", todo: "export the bundle again")
    }
    for (part, wanted) in [(normalizer, "BertNormalizer"), (splitter, "BertPreTokenizer")]
    where part?.type != wanted {
      throw BundleError("\(path) has \(part?.type ?? "nothing") in the place of \(wanted)")
    }
  }
}
