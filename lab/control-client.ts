import http from "node:http";
import { json } from "node:stream/consumers";
import { UserError } from "../src/runtime/errors.ts";
import type { ControlCalls, ControlName } from "./control.ts";

/** Sends a call to a lab. @throws UserError when the lab refuses or does not answer */
export async function callControl<Name extends ControlName>(
  socket: string,
  name: Name,
  body: ControlCalls[Name]["body"],
  query = "",
): Promise<ControlCalls[Name]["answer"]> {
  const [method, path] = name.split(" ");
  const response = await new Promise<http.IncomingMessage>((resolve, reject) => {
    const request = http.request(
      { socketPath: socket, method, path: `${path ?? "/"}?${query}`, agent: false },
      resolve,
    );
    request.on("error", (error) => {
      reject(
        new UserError(
          { what: `the lab does not answer (${error.message})`, where: socket, todo: "start it: npx evergreen lab up" },
          { cause: error },
        ),
      );
    });
    request.end(body === undefined ? undefined : JSON.stringify(body));
  });
  const answer = (await json(response)) as object;
  if (response.statusCode === 200) return answer;
  const { what = "", where = name, todo = "see the lab's daemon.log" } = answer as Record<string, string>;
  throw new UserError({ what, where, todo });
}
