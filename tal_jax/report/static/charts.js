"use strict";
// Draws a specification into an element. The interpreter evaluates expressions without making code of text.
tal.draw = (element, spec) =>
  vegaEmbed(element, spec, {
    actions: false, ast: true, defaultStyle: false, hover: false, renderer: "svg", tooltip: tal.tooltip, loader: tal.nothing,
  });

// Everything is in the page: whatever asks for more is refused.
tal.refuse = () => Promise.reject(new Error("nothing is fetched"));
tal.nothing = { load: tal.refuse, sanitize: tal.refuse, http: tal.refuse, file: tal.refuse };

tal.figure = async (element, name, content) => {
  const { view } = await tal.draw(element.querySelector(".chart"), content.spec);
  element.view = view;
  element.querySelector(".choice")?.addEventListener("change", (event) => {
    view.signal("choice", event.target.value).runAsync();
  });
  element.querySelector(".save-png").addEventListener("click", async () => tal.save(`${name}.png`, await view.toImageURL("png", 2)));
  element.querySelector(".save-csv").addEventListener("click", () => {
    tal.save(`${name}.csv`, content.csv ?? tal.csv(content.spec.datasets.rows), "text/csv");
  });
  element.dataset.drawn = "true";
};

// One after the other, so that the page answers in between.
tal.figures = async () => {
  const specs = tal.read("data-specs");
  for (const element of document.querySelectorAll("figure[data-figure]")) {
    await tal.figure(element, element.dataset.figure, specs[element.dataset.figure]);
    await new Promise((done) => setTimeout(done));
  }
};
