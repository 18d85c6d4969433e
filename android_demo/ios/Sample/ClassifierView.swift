import MobileExport
import SwiftUI

/// Type a text, see its labels. Add the bundle's folder to the app as a folder reference named
/// `bundle`, and this package as a local dependency.
struct ClassifierView: View {
  @AppStorage("text") private var text = ""
  @State private var classifier: TextClassifier?
  @State private var answer: Classification?
  @State private var problem: String?

  var body: some View {
    Form {
      Section("Text") {
        TextField("Type something", text: $text, axis: .vertical)
      }
      if let problem {
        Section("Problem") { Text(problem) }
      }
      if let answer {
        Section(answer.isTruncated ? "Labels (the text was cut)" : "Labels") {
          ForEach(answer.ranking.prefix(5), id: \.label) { entry in
            ProgressView(value: entry.probability) {
              HStack {
                Text(entry.label).bold(answer.labels.contains(entry.label))
                Spacer()
                Text(entry.probability, format: .percent.precision(.fractionLength(1)))
              }
            }
          }
        }
      }
    }
    .task { await load() }
    // A new text cancels the task for the one before.
    .task(id: Question(text: text, isReady: classifier != nil)) { await classify() }
  }

  private struct Question: Equatable {
    let text: String
    let isReady: Bool
  }

  private func load() async {
    do {
      guard let folder = Bundle.main.url(forResource: "bundle", withExtension: nil) else {
        throw BundleError("the app has no folder called bundle")
      }
      classifier = try await Task.detached {
        try await TextClassifier.coreML(bundle: folder)
      }.value
    } catch {
      problem = error.localizedDescription
    }
  }

  private func classify() async {
    guard let classifier else { return }
    do {
      let question = text
      let found = try await Task.detached { try classifier.classify(question) }.value
      if !Task.isCancelled { (answer, problem) = (found, nil) }
    } catch {
      problem = error.localizedDescription
    }
  }
}
