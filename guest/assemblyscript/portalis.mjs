// An AssemblyScript transform: writes the JSON of each `/* portalis {...} */` comment in the program's own sources into the
// custom section `portalis`, which AssemblyScript has no syntax for. (A plain class: `asc` gives it what a Transform has, and nothing need be resolvable from here.)

export default class Portalis {
  afterParse(parser) {
    this.interfaces = parser.sources
      .filter((source) => !source.isLibrary)
      .flatMap((source) => [...source.text.matchAll(/^\/\*\s*portalis\s+(\{[\s\S]*?\})\s*\*\//gm)])
      .map((found) => JSON.stringify(JSON.parse(found[1])));
    if (!this.interfaces.length) throw new Error('no /* portalis {...} */ comment: say what the inputs and outputs are');
  }

  afterCompile(module) {
    module.addCustomSection("portalis", new TextEncoder().encode(this.interfaces.join("\n")));
  }
}
