import Foundation
import MobileExport

/// A bundle on the command line.
@main
struct Main {
  private static let usage = """
    usage: mobile-text verify BUNDLE [FORMAT]
           mobile-text encode BUNDLE [FORMAT] < TEXTS       (a JSON string a line → ids)
           mobile-text decide BUNDLE [FORMAT] < LOGITS      (a JSON array a line → labels)
           mobile-text classify BUNDLE TEXT [ARTIFACT]      (Core ML)
           mobile-text replay BUNDLE RESULTS.json [ARTIFACT]  (Core ML)
    """

  static func main() async {
    do {
      try await run(Array(CommandLine.arguments.dropFirst()))
    } catch {
      FileHandle.standardError.write(Data("error: \(error)\n".utf8))
      exit(2)
    }
  }

  private static func run(_ arguments: [String]) async throws {
    guard arguments.count >= 2 else {
      print(usage)
      exit(arguments.isEmpty ? 0 : 2)
    }
    let (command, third) = (arguments[0], arguments.dropFirst(2).first)
    let folder = URL(fileURLWithPath: arguments[1])
    switch command {
    case "verify":
      let bundle = try ModelBundle(folder: folder, format: third ?? "coreml")
      let names = bundle.artifacts.map(\.path).joined(separator: ", ")
      print(
        "\(bundle.manifest.name): \(bundle.manifest.files.count) files and \(names) are as promised"
      )
    case "encode":
      let bundle = try ModelBundle(folder: folder, format: third ?? "coreml")
      let tokenizer = try WordPieceTokenizer(bundle: bundle)
      try eachLine { (text: String) in
        let encoding = tokenizer.encode(text)
        return Encoded(ids: encoding.ids, truncated: encoding.isTruncated)
      }
    case "decide":
      let task = try ModelBundle(folder: folder, format: third ?? "coreml").manifest.task
      try eachLine { (logits: [Float]) in
        let encoding = Encoding(ids: [], isTruncated: false)
        let answer = try Classification(encoding: encoding, logits: logits, task: task)
        return Decided(labels: answer.labels, probabilities: answer.probabilities)
      }
    case "classify" where third != nil:
      try await classify(third ?? "", folder, artifact: arguments.dropFirst(3).first)
    case "replay" where third != nil:
      let results = URL(fileURLWithPath: third ?? "")
      try await replay(folder, results, artifact: arguments.dropFirst(3).first)
    default:
      throw BundleError("'\(arguments.joined(separator: " "))' is no command", todo: usage)
    }
  }

  private struct Encoded: Encodable {
    let ids: [Int32]
    let truncated: Bool
  }

  private struct Decided: Encodable {
    let labels: [String]
    let probabilities: [Double]
  }

  /// Answers each line of standard input with one of standard output.
  private static func eachLine<Question: Decodable, Answer: Encodable>(
    _ answer: (Question) throws -> Answer
  ) throws {
    let decoder = JSONDecoder()
    decoder.nonConformingFloatDecodingStrategy = .convertFromString(
      positiveInfinity: "inf", negativeInfinity: "-inf", nan: "nan")
    let encoder = JSONEncoder()
    encoder.nonConformingFloatEncodingStrategy = .convertToString(
      positiveInfinity: "inf", negativeInfinity: "-inf", nan: "nan")
    while let line = readLine() {
      guard let question = try? decoder.decode(Question.self, from: Data(line.utf8)) else {
        throw BundleError("standard input has a line that is not what is asked for", why: line)
      }
      print(String(decoding: try encoder.encode(answer(question)), as: UTF8.self))
    }
  }

  private static func classify(_ text: String, _ folder: URL, artifact: String?) async throws {
    #if canImport(CoreML)
      let classifier = try await TextClassifier.coreML(bundle: folder, artifact: artifact)
      let answer = try classifier.classify(text)
      print(answer.labels.joined(separator: ", "))
      for entry in answer.ranking { print("  \(entry.probability)  \(entry.label)") }
    #else
      throw needsCoreML
    #endif
  }

  private static func replay(_ folder: URL, _ results: URL, artifact: String?) async throws {
    #if canImport(CoreML)
      let classifier = try await TextClassifier.coreML(bundle: folder, artifact: artifact)
      let found = try ReplayResults.replaying(
        ModelBundle(folder: folder), with: classifier, environment: ["compute_units": "all"])
      try found.json().write(to: results, options: .atomic)
      print(
        "\(results.path): \(found.artifacts[0].cases.count) cases of \(classifier.artifact.path)")
    #else
      throw needsCoreML
    #endif
  }

  private static let needsCoreML = BundleError(
    "this command runs a model", why: "Core ML is on Apple's systems alone")
}
