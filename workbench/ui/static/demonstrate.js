workbench.fill(element.querySelector(".wb-demonstrate"), "demonstrate");
