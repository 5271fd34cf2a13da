workbench.fill(element.querySelector(".wb-rank"), "rank");
