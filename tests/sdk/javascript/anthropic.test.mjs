// The official Anthropic SDK for JavaScript against the proxy, on every upstream dialect.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import Anthropic from '@anthropic-ai/sdk';
import { zodOutputFormat } from '@anthropic-ai/sdk/helpers/zod';
import {
  ANSWER, ASK, BROKEN, DIALECTS, FAILURES, HELLO, KEY, PARAMETERS, PNG, PROXY, Person, RESULTS,
  SAID, THOUGHT, TOOLS, URL,
} from './samples.mjs';

const client = new Anthropic({ baseURL: PROXY, apiKey: KEY, maxRetries: 0, timeout: 20_000 });
const tools = TOOLS.map((name) => ({ name, input_schema: PARAMETERS }));

const create = (params) => client.messages.create({ max_tokens: 99, messages: HELLO, ...params });
const said = (answer) =>
  answer.content.filter((block) => block.type === 'text').map((block) => block.text).join('');
const turns = (first) => {
  const calls = first.content.filter((block) => block.type === 'tool_use');
  const results = calls.map((call) => ({
    type: 'tool_result', tool_use_id: call.id, content: `result of ${call.name}`,
  }));
  return [...ASK, { role: 'assistant', content: first.content }, { role: 'user', content: results }];
};

for (const to of DIALECTS) {
  const model = `${to}/sim-ok`;

  test(`${to}: message`, async () => {
    const answer = await create({ model });
    assert.equal(said(answer), ANSWER);
    assert.equal(answer.stop_reason, 'end_turn');
    assert.ok(answer.usage.input_tokens > 0 && answer.usage.output_tokens === 7);
  });

  test(`${to}: stream`, async () => {
    let text = '';
    const stream = client.messages.stream({ model, max_tokens: 99, messages: HELLO });
    stream.on('text', (piece) => { text += piece; });
    const final = await stream.finalMessage();
    assert.equal(text, ANSWER);
    assert.equal(final.usage.output_tokens, 7);
  });

  test(`${to}: parallel tools and their results`, async () => {
    const first = await create({ model, messages: ASK, tools });
    const calls = first.content.filter((block) => block.type === 'tool_use');
    assert.deepEqual(calls.map((call) => call.name), TOOLS);
    assert.equal(first.stop_reason, 'tool_use');
    const last = await create({ model, messages: turns(first), tools });
    assert.equal(said(last), RESULTS);
  });

  test(`${to}: structured output is parsed`, async () => {
    const answer = await client.messages.parse({
      model, max_tokens: 99, messages: HELLO, output_config: { format: zodOutputFormat(Person) },
    });
    Person.parse(answer.parsed_output);
  });

  test(`${to}: images`, async () => {
    const ask = (source) => {
      const content = [{ type: 'text', text: SAID }, { type: 'image', source }];
      return create({ model, messages: [{ role: 'user', content }] });
    };
    const seen = `${ANSWER} I see 1 image.`;
    const data = { type: 'base64', media_type: 'image/png', data: PNG };
    assert.equal(said(await ask(data)), seen);
    const url = { type: 'url', url: URL };
    if (to === 'gemini') {
      await assert.rejects(ask(url), Anthropic.BadRequestError);
    } else {
      assert.equal(said(await ask(url)), seen);
    }
  });

  for (const streamed of [false, true]) {
    test(`${to}: reasoning is shown and replayed, streamed: ${streamed}`, async () => {
      const thinking = { type: 'enabled', budget_tokens: 2000 };
      const params = { model, max_tokens: 4000, messages: ASK, tools, thinking };
      const first = streamed
        ? await client.messages.stream(params).finalMessage()
        : await create(params);
      assert.match(first.content[0].thinking, THOUGHT);
      const last = await create({ ...params, messages: turns(first) });
      assert.equal(said(last), RESULTS);
    });
  }

  for (const [failing, raised] of FAILURES) {
    test(`${to}: ${failing} is a ${raised}`, async () => {
      await assert.rejects(create({ model: `${to}/${failing}` }), Anthropic[raised]);
    });
  }

  for (const broken of BROKEN) {
    test(`${to}: ${broken} never looks complete`, async () => {
      const params = { model: `${to}/${broken}`, max_tokens: 99, messages: HELLO };
      await assert.rejects(client.messages.stream(params).finalMessage(), Anthropic.AnthropicError);
    });
  }
}

test('models are listed', async () => {
  const ids = [];
  for await (const model of client.models.list()) ids.push(model.id);
  assert.ok(ids.includes('openai/sim-ok'));
  assert.equal((await client.models.retrieve('openai/sim-ok')).id, 'openai/sim-ok');
  await assert.rejects(client.models.retrieve('no-such-model'), Anthropic.NotFoundError);
});
