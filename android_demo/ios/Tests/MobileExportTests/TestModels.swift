import Foundation

@testable import MobileExport

/// Keeps what it is asked.
final class RecordingModel: TextModel, @unchecked Sendable {
  private(set) var rows: [[Int32]] = []
  private let labels: Int

  init(labels: Int) { self.labels = labels }

  func logits(inputIDs: [Int32], attentionMask: [Int32]) throws -> [Float] {
    rows.append(inputIDs)
    return [Float](repeating: 0, count: labels)
  }
}

/// Answers with the logits that golden.json holds for an artifact, where nothing can run it.
struct RecordedModel: TextModel {
  private struct File: Decodable {
    struct Case: Decodable {
      let inputIDs: [Int32]
      let logits: [String: [Float]]

      private enum CodingKeys: String, CodingKey {
        case inputIDs = "input_ids"
        case logits = "artifact_logits"
      }
    }

    let cases: [Case]
  }

  private let answers: [[Int32]: [Float]]

  init(bundle: ModelBundle, artifact: Artifact) throws {
    let json = replacingLoneSurrogates(in: try bundle.data(Golden.path), with: "?")
    let cases = try JSONDecoder().decode(File.self, from: json).cases
    answers = Dictionary(
      cases.map { ($0.inputIDs, $0.logits[artifact.path] ?? []) }, uniquingKeysWith: { $1 })
  }

  func logits(inputIDs: [Int32], attentionMask: [Int32]) throws -> [Float] {
    let ids = zip(inputIDs, attentionMask).filter { $1 == 1 }.map(\.0)
    guard let found = answers[ids] else { throw BundleError("no golden text has these ids") }
    return found
  }
}
